"""A text that is not UTF-8 is read in the encoding that its words indicate, or an error names the flag."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from models.formats.csv_decoder import CsvDecoder
from models.schema import FeatureSchema
from tests.training.posting import assert_frame, decoded
from training.build_dataset import load_dataset
from training.config import DataOptions
from training.errors import UsageError
from training.legacy_encodings import likely_encodings
from training.reading import read_table

Write = Callable[..., str]
RUSSIAN = ("Москва", "Казань", "Новосибирск", "Самара", "Уфа", "Пермь")
JAPANESE = ("東京", "大阪", "名古屋", "札幌", "福岡", "カード", "はい")
KOREAN = ("서울", "부산", "대구", "인천", "광주")
CHINESE = ("北京", "上海", "广州", "深圳", "成都")
FEW_WORDS = [  # words that a detector reads in a wrong encoding
    ("gb18030", ("北京", "上海", "广州", "深圳", "成都", "是")),
    ("cp1255", ("חיפה", "ירוק", "נקבה")),
    ("cp932", ("東京", "はい", "女性", "いいえ", "大阪", "札幌", "福岡")),
    ("cp932", ("はい", "福岡", "いいえ", "札幌")),
    ("euc_jp", ("福岡", "名古屋", "カード", "いいえ", "札幌", "男性", "はい")),
    ("cp949", ("부산", "예", "서울", "아니오", "대구")),
    ("cp1251", ("Самара", "да", "Тула")),
    ("cp1251", ("Уфа", "Омск", "красный", "мужской", "Пермь", "Казань", "Москва")),
    ("cp1256", ("دمشق", "بغداد")),
    ("big5", ("臺北", "高雄", "臺中", "男性", "女性", "紅色", "新竹", "第Ⅱ類")),  # the encoding has no lower-case Ⅱ
    ("cp932", ("東京", "大阪", "名古屋", "札幌", "5\u212b", "福岡")),
]
READ = [
    *((encoding, RUSSIAN) for encoding in ("cp1251", "koi8-r", "cp866", "iso8859-5")),
    ("cp1251", ("высшее", "среднее", "начальное", "неполное среднее")),
    ("koi8-u", ("Київ", "Львів", "Одеса", "Харків")),
    ("cp932", JAPANESE),
    ("euc_jp", JAPANESE),
    ("cp949", KOREAN),
    ("gb18030", CHINESE),
    ("cp1252", ("Köln", "München", "Düsseldorf")),
    ("cp1252", ("Besançon", "créée", "Noël", "œuvre")),
    ("cp1252", ("España", "Ávila", "¿qué?", "5 €", "m²", "20 °C")),
    ("cp1252", ("Göteborg", "Åre", "Öland", "å")),
]
AMBIGUOUS = [
    ("cp1251", ("да", "нет")),
    ("koi8-r", ("да", "нет")),
    ("cp932", ("はい", "いいえ")),
    ("gb18030", ("男", "女")),
    ("cp949", ("남", "여")),
    ("cp1251", ("мужской", "женский")),
    ("cp932", ("ﾄｳｷｮｳ", "ｵｵｻｶ")),
]


def table_of(words: tuple[str, ...], rows: int = 120) -> str:
    rng = np.random.default_rng(0)
    lines = [f"{words[row % len(words)]},{rng.normal():.3f},{row * 7 % 13}\n" for row in range(rows)]
    return "word,x,y\n" + "".join(lines)


@pytest.mark.parametrize(("encoding", "words"), READ)
def test_the_encoding_is_detected_from_words_and_the_file_can_be_posted(
    write: Write, encoding: str, words: tuple[str, ...]
) -> None:
    content = table_of(words).encode(encoding)
    dataset = load_dataset(DataOptions(data=write(content), target="y", task="regression"))
    assert set(dataset.columns["word"].tolist()) == set(words)
    assert any(f"is read as {encoding}" in notice and "--encoding overrides" in notice for notice in dataset.notices)
    assert dataset.schema.encoding == encoding
    schema = FeatureSchema.from_json(dataset.schema.to_json())
    assert_frame(decoded(CsvDecoder, schema, content), dataset, "CSV")


@pytest.mark.parametrize(("encoding", "words"), AMBIGUOUS)
def test_words_with_several_readings_require_a_flag(write: Write, encoding: str, words: tuple[str, ...]) -> None:
    path = write(table_of(words).encode(encoding))
    with pytest.raises(UsageError, match=r"its encoding is not clear: use --encoding \w.* reads '"):
        read_table(DataOptions(data=path))
    table = read_table(DataOptions(data=path, encoding=encoding))
    assert set(table.columns[0].to_pylist()) == set(words)
    assert read_table(DataOptions(data=path), encoding).columns[0].equals(table.columns[0])  # an encoding from a schema


@pytest.mark.parametrize(("encoding", "words"), FEW_WORDS)
@pytest.mark.parametrize("template", ["{x}|{flag}|{word}|09/03/2018", "{word},{x},{flag}", "{x};{word}"])
def test_few_words_are_read_in_their_encoding_or_it_is_a_candidate(
    encoding: str, words: tuple[str, ...], template: str
) -> None:
    rng = np.random.default_rng(0)
    values = [(words[row % len(words)], f"{rng.normal() * 90:.1f}", row % 3 > 1) for row in range(100)]
    text = "".join(template.format(word=word, x=x, flag=flag) + "\n" for word, x, flag in values)
    likely = likely_encodings([text.encode(encoding)])
    readings = [text.encode(encoding).decode(name, "replace") == text for name in likely.names]
    assert readings[0] if likely.sure else any(readings)


def test_signs_before_letters_are_not_western_european(write: Write) -> None:
    words = ("Łódź", "Kraków", "Gdańsk", "Poznań", "Żory")
    table = read_table(DataOptions(data=write(table_of(words).encode("cp1250"))))
    assert set(table.columns[0].to_pylist()) == set(words)


def test_characters_of_utf_8_that_occur_by_chance_do_not_decide(write: Write) -> None:
    words = ("짜장면", "서울", "부산", "대구", "인천", "광주")  # the first one begins with C2 A5
    content = table_of(words).encode("cp949")
    assert "\u00a5" in content.decode(errors="ignore")
    assert set(read_table(DataOptions(data=write(content))).columns[0].to_pylist()) == set(words)


def test_words_at_the_end_of_a_large_file_are_used() -> None:
    rows = [b"plain,1\n" * 1000] * 200
    rows += [f"{word},{number}\n".encode("cp1251") for word in RUSSIAN for number in range(20)]
    assert likely_encodings(iter(rows)).names[0] == "cp1251"


@pytest.mark.parametrize("content", [bytes(range(128, 256)), b"\x81\x8d\x8f\x90\x9d", b"\xff" * 100])
def test_any_bytes_have_a_likely_encoding(content: bytes) -> None:
    found: Any = likely_encodings([content + b"\n"])
    assert found.names
