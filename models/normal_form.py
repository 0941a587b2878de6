"""Unicode's normal forms, in linear time.

Normalising sorts each run of combining marks, in quadratic time: 100,000 marks in a request would take seconds.
"""

import re
import unicodedata
from typing import Literal

MAX_MARKS = 32  # characters of a run that count; no language has words with as many marks on a letter
RUN = re.compile(r"(?:[^\w\s\x00-\x7f]|[\uff9e\uff9f])+")
"""Characters that may be combining marks: no letters, digits or blanks. NFKC also makes marks of two letters."""


def normal_form(form: Literal["NFC", "NFKC"], text: str) -> str:
    if text.isascii():
        return text
    return unicodedata.normalize(form, RUN.sub(lambda run: run[0][:MAX_MARKS], text))
