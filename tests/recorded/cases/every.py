"""All recorded requests in their sending order."""

from collections.abc import Sequence

from tests.recorded.case import Case
from tests.recorded.cases import (
    arrow,
    calls,
    connections,
    native,
    pages,
    scoring,
    streams,
    text,
    tfserving,
    v2,
    v2_binary,
)

MODULES = (native, text, arrow, streams, tfserving, v2, v2_binary, scoring, calls, connections, pages)
CASES: Sequence[Case] = [case for module in MODULES for case in module.cases()]
