"""Dates with words, digits and signs of other languages are translated for English formats."""

import pytest

from models.date_parsing import parse_date
from models.date_words import MAX_DATE_TEXT, month_of, with_english_words


@pytest.mark.parametrize(
    ("text", "english"),
    [
        ("27. Dezember 2021", "27. Dec 2021"),
        ("27 déc. 2021", "27 Dec 2021"),
        ("1er janvier 2022", "1 Jan 2022"),
        ("mar. 28 déc. 2021", "28 Dec 2021"),  # a Tuesday, not March
        ("le 27 décembre 2021 à 14h30", "27 Dec 2021 14:30"),
        ("27 de diciembre de 2021", "27 Dec 2021"),
        ("segunda-feira, 27 de dezembro de 2021", "27 Dec 2021"),
        ("27 декабря 2021 г.", "27 Dec 2021"),  # noqa: RUF001 - a Cyrillic letter
        ("27 grudnia 2021", "27 Dec 2021"),
        ("27. joulukuuta 2021 klo 14.30", "27. Dec 2021 14:30"),
        ("27 Aralık 2021", "27 Dec 2021"),  # noqa: RUF001 - a dotless i
        ("2021. december 27.", "2021 Dec 27"),
        ("2021年12月27日", "2021-12-27"),
        ("2021年12月27日 12時30分15秒", "2021-12-27 12:30:15"),
        ("2021년 12월 27일", "2021-12-27"),
        ("2021-12-27 오후 12:08:53", "2021-12-27 12:08:53 PM"),
        ("2021. 12. 27.", "2021.12.27"),
        ("٢٧/١٢/٢٠٢١", "27/12/2021"),
        ("２０２１／１２／２７", "2021/12/27"),  # noqa: RUF001 - full-width digits
        ("\u200e12/27/2021", "12/27/2021"),
        ("12/27/2021, 12:08\u202fPM", "12/27/2021, 12:08 PM"),
        ("27/12/2021 12:08 p. m.", "27/12/2021 12:08 PM"),
        ("Sept. 5th, 2021", "Sep 5, 2021"),
        ("December 27, 2021 at 12:08 AM", "Dec 27, 2021 12:08 AM"),
        ("27.12.2021, 00:08 Uhr", "27.12.2021, 00:08"),
        ("27.12.2021. 10:30", "27.12.2021 10:30"),
        ("2021-12-27 00:08:53 CEST", "2021-12-27 00:08:53 +0200"),
        ("Mon, 27 Dec 2021 00:08:53 EST", "27 Dec 2021 00:08:53 -0500"),
        ("2021-12-27T00:08:53+01:00[Europe/Berlin]", "2021-12-27T00:08:53+01:00"),
        ("Mon Dec 27 2021 00:08:53 GMT+0200 (Central European Summer Time)", "Dec 27 2021 00:08:53 +0200"),
        ("x" * (MAX_DATE_TEXT + 1), "x" * (MAX_DATE_TEXT + 1)),
    ],
)
def test_words_and_signs_of_dates_are_translated_to_english(text: str, english: str) -> None:
    assert with_english_words(text) == english


def test_ambiguous_month_word_is_not_translated() -> None:
    assert month_of("jui") is None  # juin or juillet
    assert month_of("juin") == "Jun"
    assert month_of("mar") == month_of("März") == month_of("марта") == "Mar"


def test_dates_of_any_language_are_read_by_an_english_format() -> None:
    expected = parse_date("2021-12-27")
    assert parse_date("27 Dec 2021", "%d %b %Y") == expected
    assert parse_date("27 dicembre 2021", "%d %b %Y") == expected
    assert parse_date("٢٠٢١-١٢-٢٧") == expected
    for text in ("27 brumaire 2021", "dicembre", "27 Dez Dez 2021"):
        with pytest.raises(ValueError, match=r"brumaire|dicembre|Dez"):
            parse_date(text, "%d %b %Y")
