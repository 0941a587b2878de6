"""Formats numbers as service/page/components/numbers.js does."""

import math
from decimal import ROUND_HALF_UP, Decimal


def format_number(value: float) -> str:
    """The number with four significant digits, without trailing zeros."""
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}"
    if abs(value) < 1e-4 or abs(value) >= 1e15:
        return f"{value:.3e}".replace("e-0", "e-").replace("e+", "e")
    digits = max(0, 3 - math.floor(math.log10(abs(value))))
    rounded = Decimal(repr(float(value))).quantize(Decimal(1).scaleb(-digits), ROUND_HALF_UP)
    return without_trailing_zeros(f"{rounded:,f}")


def format_percent(share: float) -> str:
    """A fraction as a percentage with at most one decimal place."""
    rounded = Decimal(repr(float(share * 100))).quantize(Decimal("0.1"), ROUND_HALF_UP)
    return f"{without_trailing_zeros(f'{rounded:,f}')} %"


def without_trailing_zeros(text: str) -> str:
    return text.rstrip("0").rstrip(".") if "." in text else text
