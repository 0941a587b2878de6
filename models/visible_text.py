"""Removes the invisible characters that copying from documents and web pages leaves in names and levels.

The joiners of Persian, of Indian scripts and of emoji (U+200C, U+200D) are part of words and stay.
"""

import re

INVISIBLE = re.compile("[\u00ad\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufeff]")


def visible_text(text: str) -> str:
    """The text without invisible characters, and then without blanks around it; unchanged if it has none of them."""
    if text.isascii() or INVISIBLE.search(text) is None:
        return text
    return INVISIBLE.sub("", text).strip()
