"""Characters that are equivalent to ASCII characters in a number or a date: digits of other scripts, full-width signs,
other minus signs and blanks, and invisible characters that were copied from a document.
"""

import unicodedata

FULL_WIDTH = range(0xFF01, 0xFF5F)  # the full-width forms of the visible ASCII characters
FULL_WIDTH_DISTANCE = 0xFEE0
SIGNS = {
    "-": "\u2010\u2011\u2012\u2013\u2212\ufe63",  # not the long dashes, which separate words
    "'": "\u2019\u02bc`\u00b4",
    "%": "\u066a\ufe6a",
    ",": "\u066c\u060c\ufe50",
    ".": "\u066b\u00b7\ufe52",  # the first is Arabic; the second is used in Britain
}


MAX_KEPT = 10_000  # maximum number of characters; all of Unicode would take more than 100 MB


class _Equivalents(dict[int, str]):
    """The ASCII form of each character by its code, or the character itself. An entry is added when a character first
    occurs."""

    def __missing__(self, code: int) -> str:
        form = _equivalent(chr(code))
        if len(self) < MAX_KEPT:
            self[code] = form
        return form


def _equivalent(character: str) -> str:
    if ord(character) in FULL_WIDTH:
        character = chr(ord(character) - FULL_WIDTH_DISTANCE)
    category = unicodedata.category(character)
    if category == "Nd":
        return str(unicodedata.decimal(character))
    if category == "Zs":
        return " "
    return "" if category == "Cf" else character


_EQUIVALENTS = _Equivalents({ord(form): sign for sign, forms in SIGNS.items() for form in forms})


def with_ascii_forms(text: str) -> str:
    """The text, with each character replaced by its ASCII form if it has one in numbers and dates."""
    return text.translate(_EQUIVALENTS)
