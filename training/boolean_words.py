"""Words that mean true and false, in several languages."""

from collections.abc import Iterable
from typing import NamedTuple


class BooleanWords(NamedTuple):
    """Words in lower case that mean true and false in one column."""

    true: list[str]
    false: list[str]


LANGUAGES = {
    "English": ("yes y true t on", "no n false f off"),
    "German": ("ja j wahr", "nein n falsch"),
    "French": ("oui vrai", "non faux"),
    "Spanish": ("sí si verdadero", "no falso"),
    "Italian": ("sì si vero", "no falso"),
    "Portuguese": ("sim verdadeiro", "não nao falso"),
    "Catalan": ("sí cert", "no fals"),
    "Romanian": ("da adevărat", "nu fals"),
    "Dutch": ("ja j waar", "nee n onwaar"),
    "Danish, Swedish": ("ja j sand sant", "nej n falsk falskt"),
    "Norwegian": ("ja j sann", "nei n usann"),
    "Icelandic": ("já", "nei"),
    "Finnish": ("kyllä tosi", "ei epätosi"),
    "Estonian": ("jah", "ei"),
    "Latvian": ("jā", "nē"),
    "Lithuanian": ("taip", "ne"),
    "Polish": ("tak prawda", "nie fałsz"),
    "Czech": ("ano pravda", "ne nepravda"),
    "Slovak": ("áno ano", "nie"),
    "Slovenian, Croatian": ("da", "ne"),
    "Hungarian": ("igen igaz", "nem hamis"),
    "Turkish": ("evet doğru", "hayır hayir yanlış"),  # noqa: RUF001 - a dotless i
    "Indonesian": ("ya", "tidak"),
    "Vietnamese": ("có", "không"),
    "Greek": ("ναι", "όχι"),  # noqa: RUF001 - Greek letters
    "Russian": ("да истина", "нет ложь"),
    "Ukrainian": ("так", "ні"),
    "Bulgarian, Serbian": ("да", "не"),
    "Arabic": ("نعم", "لا"),
    "Hebrew": ("כן", "לא"),
    "Chinese": ("是", "否"),
    "Japanese": ("はい", "いいえ"),
    "Korean": ("예 네", "아니요 아니오"),
}
"""Words for true and for false. S/N (sí, sim) and O/N (oui) are not included because they may have other meanings."""


def boolean_words(texts: Iterable[str]) -> BooleanWords | None:
    """Return the words for true and false if all texts are such words of one language and both occur, else None.

    A column of `true` and `false` needs no words, so the result is also None.
    """
    used = {text.casefold() for text in texts}
    if used <= {"true", "false"}:
        return None
    for yes, no in LANGUAGES.values():
        true, false = used & {*yes.split()}, used & {*no.split()}
        if true and false and used == true | false:
            return BooleanWords(sorted(true), sorted(false))
    return None
