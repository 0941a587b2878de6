"""Finds the encoding of a text that is not UTF-8: cp1252, or another encoding if a detector is sure of it.

Each encoding with one byte per character decodes nearly any bytes, so the decoded words are examined. In Western
European words most letters are ASCII. Cyrillic and Greek words contain no ASCII letters, and cp1252 turns them into
words like `Ìîñêâà`. The detector is unreliable for a few short words; the frequent characters of a language correct it.
If no encoding is clear, an error asks for --encoding.
"""

import codecs
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from charset_normalizer import CharsetMatch

WESTERN, CENTRAL, TURKISH = "cp1252", "cp1250", "cp1254"
WESTERN_EUROPEAN = (WESTERN, "latin-1")  # latin-1 decodes all bytes
OTHERS = (  # encodings of tables, except encodings that differ from these only in rare characters of one language
    *("cp932", "euc_jp", "cp949", "gb18030", "big5"),
    *("cp1251", "koi8_r", "koi8_u", "iso8859_5", "cp866"),
    *("cp1253", "cp1255", "cp1256", "cp874", CENTRAL, TURKISH),
)
SAMPLE_BYTES = 1 << 16  # of lines with characters beyond ASCII
MAX_ODD = 0.25  # maximum fraction of odd characters in Western European words
CLEAR_CHAOS = 0.06  # minimum difference in the detector's measure of disorder between the first two encodings
CLEAR_COHERENCE = 0.1  # half of the minimum of the detector's measure of similarity to a language
MAX_CHAOS = 0.35  # words of one letter case among many numbers have 0.25
MIN_REGULAR = 0.9  # minimum fraction of regular words
MIN_DIFFERENT = 6  # characters
COMMON_LETTERS = frozenset().union("оеаинтсрвл", "αοιεστνρκη", "יוהלארתבמש", "اليمنورتبه", "านรอกเงยมลั่")
MIN_COMMON = 0.5  # minimum fraction of these letters in a text of the language
COMMON_FIRST_BYTES = {  # first bytes of the frequent characters of East Asian languages
    "gb18030": range(0xB0, 0xD8),
    "big5": range(0xA4, 0xC7),
    "cp949": range(0xB0, 0xC9),
    "cp932": (*range(0x82, 0x84), *range(0x88, 0x98)),
    "euc_jp": (*range(0xA4, 0xA6), *range(0xB0, 0xD0)),
}
HIGH_SECOND_BYTES = ("gb18030", "cp949")  # the second byte of their frequent characters is above 0xa0
MIN_RELATIVE = 0.6  # minimum fraction of frequent characters, relative to the reading with the largest fraction
MIN_SURE = 0.4  # the smallest fraction of frequent characters of a reading that is used without an error
MAX_READINGS = 3  # maximum number of readings in a message
MIN_COMMON_UNDETECTED = 0.9  # minimum fraction of frequent characters in a reading that the detector does not name
HALF_WIDTH = re.compile("[\uff66-\uff9f]")
SCRIPTS = (
    frozenset({"CJK", "HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA", "FULLWIDTH", "LATIN"}),
    frozenset({"HALFWIDTH", "KATAKANA-HIRAGANA", "LATIN"}),
    frozenset({"HANGUL", "CJK", "FULLWIDTH", "LATIN"}),
    *map(frozenset, ({"CYRILLIC"}, {"GREEK"}, {"HEBREW"}, {"ARABIC"}, {"THAI"}, {"LATIN"})),
)
CASED = frozenset({"CYRILLIC", "GREEK", "LATIN"})
NOT_ASCII_LINE = re.compile(rb"[^\r\n]*[\x80-\xff][^\r\n]*[\r\n]*")
WORD = re.compile(r"(?:[^\W\d_]|[^\x00-\x7f\s])+")
NEUTRAL = ("ROMAN NUMERAL", "ANGSTROM SIGN", "OHM SIGN", "CIRCLED", "PARENTHESIZED", "SQUARE")  # in any script
SIGNS = frozenset("°§€–—‘’“”„…•«»‹›·©®™±×÷†‡‰′″")  # noqa: RUF001 - signs that may touch words


class LikelyEncodings(NamedTuple):
    """The encodings that the words of a text allow, the most likely one first. sure: whether only the first one is
    plausible."""

    names: list[str]
    sure: bool


def likely_encodings(chunks: Iterable[bytes]) -> LikelyEncodings:
    """Return the likely encodings of a text. chunks: the text, with bytes beyond ASCII, in chunks that end at the ends
    of lines."""
    from charset_normalizer import from_bytes  # only for files that are not UTF-8

    sample = b"".join(_sample(chunks))
    western = WESTERN_EUROPEAN[not _decodes(sample, WESTERN)]
    if _is_western(sample.decode(western)):
        return LikelyEncodings([western], sure=True)
    matches = from_bytes(sample, cp_isolation=[*OTHERS], threshold=MAX_CHAOS)
    named = [match for match in matches if match.encoding in OTHERS]
    found = _with_common_characters(sample, [match for match in named if _is_regular(sample.decode(match.encoding))])
    undetected = _undetected(sample, named)
    names = [codecs.lookup(name).name for name in (*(match.encoding for match in found), *undetected)]
    return LikelyEncodings(names[:MAX_READINGS] or [western, CENTRAL], sure=not undetected and _is_clear(sample, found))


def _is_clear(sample: bytes, found: "Sequence[CharsetMatch]") -> bool:
    """Whether the first reading is much better than the others: less disorder, or more similar to a language."""
    if not found:
        return False
    first, others = found[0], found[1:]
    if first.encoding in (CENTRAL, TURKISH):
        return not others  # nearly any bytes are such letters
    if _common_character_fraction(sample, first.encoding) < MIN_SURE:
        return False
    if not others:
        return True
    if _has_half_width(sample, first.encoding):
        return False
    if others[0].chaos - first.chaos > CLEAR_CHAOS:
        return len(_characters(sample, first.encoding)) >= MIN_DIFFERENT
    share, *shares = (_common_letter_fraction(sample.decode(match.encoding)) for match in found)
    return first.coherence >= 2 * max(CLEAR_COHERENCE, *(match.coherence for match in others)) and share >= max(
        MIN_COMMON, *shares
    )


def _has_half_width(sample: bytes, encoding: str) -> bool:
    return encoding == "cp932" and HALF_WIDTH.search(sample.decode(encoding)) is not None


def _with_common_characters(sample: bytes, found: "Sequence[CharsetMatch]") -> "list[CharsetMatch]":
    """Remove the readings with far fewer characters that are frequent in the languages of their encoding.

    A few words are not enough to compare the readings.
    """
    shares = [_common_character_fraction(sample, match.encoding) for match in found]
    enough = all(len(_characters(sample, match.encoding)) >= MIN_DIFFERENT for match in found)
    least = MIN_RELATIVE * max(shares, default=0)
    return [
        match
        for match, share in zip(found, shares, strict=True)
        if share >= least or not enough or _has_half_width(sample, match.encoding)
    ]


def _undetected(sample: bytes, matches: "Sequence[CharsetMatch]") -> list[str]:
    """Return further encodings that yield a different text, with regular words of mostly frequent characters."""
    texts = {sample.decode(match.encoding) for match in matches}
    shares: dict[str, float] = {}
    for name in OTHERS:
        if _decodes(sample, name) and (text := sample.decode(name)) not in texts and _is_regular(text):
            texts.add(text)
            shares[name] = _common_character_fraction(sample, name)
    likely = [name for name, share in shares.items() if share >= MIN_COMMON_UNDETECTED]
    return sorted(likely, key=lambda name: -shares[name])


def _common_character_fraction(sample: bytes, encoding: str) -> float:
    """Return the fraction of characters, in distinct words, that are frequent in the languages of the encoding."""
    text = sample.decode(encoding)
    if encoding not in COMMON_FIRST_BYTES:
        return min(_common_letter_fraction(text) / MIN_COMMON, 1.0)
    characters = "".join(_different_words(text))
    common = sum(_is_common_character(character.encode(encoding, "replace"), encoding) for character in characters)
    return common / max(len(characters), 1)


def _is_common_character(character: bytes, encoding: str) -> bool:
    if len(character) != 2 or (encoding in HIGH_SECOND_BYTES and character[1] <= 0xA0):
        return False
    return character[0] in COMMON_FIRST_BYTES[encoding]


def _common_letter_fraction(text: str) -> float:
    """Return the fraction of letters, in distinct words, that are among the most frequent letters of their alphabet."""
    letters = "".join(_different_words(text))
    return sum(letter in COMMON_LETTERS for letter in letters) / max(len(letters), 1)


def _characters(sample: bytes, encoding: str) -> set[str]:
    """The different characters beyond ASCII."""
    return {character for character in sample.decode(encoding) if character > "\x7f"}


def _different_words(text: str) -> set[str]:
    """The words beyond ASCII in lower case."""
    return {word.lower() for word in WORD.findall(text) if not word.isascii()}


def _is_regular(text: str) -> bool:
    """Whether the words beyond ASCII each have letters of one script, in regular case."""
    words = {word for word in WORD.findall(text) if not word.isascii()}
    return sum(map(_is_regular_word, words)) >= MIN_REGULAR * len(words)


def _is_regular_word(word: str) -> bool:
    scripts = {_script(character) for character in word if character not in SIGNS} - {"neutral"}
    if not any(scripts <= group for group in SCRIPTS):
        return False
    return word.islower() or word.isupper() or word[1:].islower() or not scripts & CASED


def _script(character: str) -> str:
    if unicodedata.name(character, "").startswith(NEUTRAL):
        return "neutral"
    if not character.isalpha() and not unicodedata.category(character).startswith("M"):
        return "sign" if character > "\x7f" else "LATIN"
    return unicodedata.name(character, "unknown").partition(" ")[0]


def _sample(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Return the distinct lines with bytes beyond ASCII."""
    seen: set[bytes] = set()
    left = SAMPLE_BYTES
    for chunk in chunks:
        for match in NOT_ASCII_LINE.finditer(chunk):
            line = match[0]
            if line not in seen:
                seen.add(line)
                yield line
                left -= len(line)
            if left <= 0:
                return


def _decodes(content: bytes, name: str) -> bool:
    try:
        content.decode(name)
    except UnicodeDecodeError:
        return False
    return True


def _is_western(text: str) -> bool:
    """Whether the words beyond ASCII look like those of Western Europe."""
    total = odd = 0
    for word in set(WORD.findall(text)):
        characters = [character for character in word if character not in SIGNS]
        beyond = sum(character > "\x7f" for character in characters)
        total += beyond
        odd += beyond if 2 * beyond > len(characters) > 1 else _signs_in_words(characters)
    return odd <= MAX_ODD * total


def _signs_in_words(characters: list[str]) -> int:
    """Count the characters beyond ASCII that are not letters and precede a letter, as in `£ódŸ`."""
    return sum(
        one > "\x7f" and not unicodedata.category(one).startswith("L") and two.isalpha()
        for one, two in pairwise(characters)
    )
