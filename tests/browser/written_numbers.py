"""Formats numbers as the page does in service/page/components/numbers.js."""

import math
from decimal import ROUND_HALF_UP, Decimal


def written(value: float) -> str:
    """Four significant digits, without zeros at the end."""
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}"
    if abs(value) < 1e-4 or abs(value) >= 1e15:
        return f"{value:.3e}".replace("e-0", "e-").replace("e+", "e")
    digits = max(0, 3 - math.floor(math.log10(abs(value))))
    rounded = Decimal(repr(float(value))).quantize(Decimal(1).scaleb(-digits), ROUND_HALF_UP)
    return trimmed(f"{rounded:,f}")


def percent(share: float) -> str:
    """One digit after the point at most."""
    rounded = Decimal(repr(float(share * 100))).quantize(Decimal("0.1"), ROUND_HALF_UP)
    return f"{trimmed(f'{rounded:,f}')} %"


def trimmed(text: str) -> str:
    return text.rstrip("0").rstrip(".") if "." in text else text
