"""The normal forms of Unicode, computed in linear time.

`unicodedata.normalize` sorts each run of combining marks in quadratic time: 100,000 marks in a request would take
seconds.
"""

import re
import unicodedata
from typing import Literal

MAX_MARKS = 32  # maximum length of a run; the rest is dropped, because no language puts so many marks on a letter
RUN = re.compile(r"(?:[^\w\s\x00-\x7f]|[\uff9e\uff9f])+")
"""Characters that may be combining marks: those that are neither letters, digits nor blanks, and two letters that NFKC
converts to marks."""


def normal_form(form: Literal["NFC", "NFKC"], text: str) -> str:
    if text.isascii():
        return text
    return unicodedata.normalize(form, RUN.sub(lambda run: run[0][:MAX_MARKS], text))
