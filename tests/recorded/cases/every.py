"""All recorded requests, in the order in which they are sent."""

from collections.abc import Sequence

from tests.recorded.case import Case
from tests.recorded.cases import native, pages

CASES: Sequence[Case] = [case for module in (native, pages) for case in module.cases()]
