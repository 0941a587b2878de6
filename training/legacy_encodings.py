"""The encoding of a text that is not UTF-8: cp1252, another one that a detector is sure about, or a question.

Each encoding with one byte per character decodes nearly any bytes, so the words decide. In Western European words most
letters are ASCII. In Cyrillic or Greek words none is, and cp1252 makes them words like `Ìîñêâà`.
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
WESTERN_EUROPEAN = (WESTERN, "latin-1")  # latin-1 has all bytes
OTHERS = (  # encodings of tables; those of single languages that only differ in rare characters are left out
    *("cp932", "euc_jp", "cp949", "gb18030", "big5"),
    *("cp1251", "koi8_r", "koi8_u", "iso8859_5", "cp866"),
    *("cp1253", "cp1255", "cp1256", "cp874", CENTRAL, TURKISH),
)
SAMPLE_BYTES = 1 << 16  # of lines with characters beyond ASCII
MAX_ODD = 0.25  # share of odd characters in Western European words
CLEAR_CHAOS = 0.06  # the detector's measure of disorder: by how much it is larger for the next encoding
CLEAR_COHERENCE = 0.1  # its measure of similarity to a language: half of what makes an encoding clear
MAX_CHAOS = 0.35  # words of one letter case between many numbers have .25
MIN_REGULAR = 0.9  # share of the words
MIN_DIFFERENT = 6  # characters
COMMON_LETTERS = frozenset("оеаинтсрвлαοιεστνρκη")
MIN_COMMON = 0.5  # share of these letters in a text of its language
MAX_READINGS = 3  # that a message shows
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
SIGNS = frozenset("°§€–—‘’“”„…•«»‹›·©®™±×÷†‡‰′″")  # noqa: RUF001 - signs that may touch words


class LikelyEncodings(NamedTuple):
    """The encodings that the words of a text allow, the most likely one first. sure: whether only the first does."""

    names: list[str]
    sure: bool


def likely_encodings(chunks: Iterable[bytes]) -> LikelyEncodings:
    """chunks: of a text with bytes beyond ASCII, which end at the ends of lines."""
    from charset_normalizer import from_bytes  # only for files that are not UTF-8

    sample = b"".join(_sample(chunks))
    western = WESTERN_EUROPEAN[not _decodes(sample, WESTERN)]
    if _is_western(sample.decode(western)):
        return LikelyEncodings([western], sure=True)
    matches = from_bytes(sample, cp_isolation=[*OTHERS], threshold=MAX_CHAOS)
    found = [match for match in matches if match.encoding in OTHERS and _is_regular(sample.decode(match.encoding))]
    names = [codecs.lookup(match.encoding).name for match in found]
    return LikelyEncodings(names[:MAX_READINGS] or [western, CENTRAL], sure=_is_clear(sample, found))


def _is_clear(sample: bytes, found: "Sequence[CharsetMatch]") -> bool:
    """Whether the first reading is much better than the others: less disorder, or more similar to a language."""
    if len(found) < 2:
        return bool(found)
    first, others = found[0], found[1:]
    text = sample.decode(first.encoding)
    if first.encoding in (CENTRAL, TURKISH) or (first.encoding == "cp932" and HALF_WIDTH.search(text)):
        return False  # nearly any bytes are such letters
    if others[0].chaos - first.chaos > CLEAR_CHAOS:
        return len({character for character in text if character > "\x7f"}) >= MIN_DIFFERENT
    share, *shares = (_share_of_common_letters(sample.decode(match.encoding)) for match in found)
    return first.coherence >= 2 * max(CLEAR_COHERENCE, *(match.coherence for match in others)) and share >= max(
        MIN_COMMON, *shares
    )


def _share_of_common_letters(text: str) -> float:
    """The share of the letters of all different words that are the ten most frequent of their alphabet."""
    letters = "".join({word.lower() for word in WORD.findall(text) if not word.isascii()})
    return sum(letter in COMMON_LETTERS for letter in letters) / max(len(letters), 1)


def _is_regular(text: str) -> bool:
    """Whether the words beyond ASCII have letters of one script each, in regular case."""
    words = {word for word in WORD.findall(text) if not word.isascii()}
    return sum(map(_is_regular_word, words)) >= MIN_REGULAR * len(words)


def _is_regular_word(word: str) -> bool:
    scripts = {_script(character) for character in word if character not in SIGNS}
    if not any(scripts <= group for group in SCRIPTS):
        return False
    return word.islower() or word.isupper() or word[1:].islower() or not scripts & CASED


def _script(character: str) -> str:
    if not character.isalpha() and not unicodedata.category(character).startswith("M"):
        return "sign" if character > "\x7f" else "LATIN"
    return unicodedata.name(character, "unknown").partition(" ")[0]


def _sample(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Lines with bytes beyond ASCII, each once."""
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
    """How many characters beyond ASCII stand before a letter and are not letters, as in `£ódŸ`."""
    return sum(
        one > "\x7f" and not unicodedata.category(one).startswith("L") and two.isalpha()
        for one, two in pairwise(characters)
    )
