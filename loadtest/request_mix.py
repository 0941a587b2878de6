"""The kinds of requests of a load test, and their shares."""

from dataclasses import dataclass

ONE_ROW, MANY_ROWS, INVALID = "one row", "many rows", "invalid row"


@dataclass(frozen=True)
class RequestMix:
    """The shares of requests: `one`, `many` and `invalid` are weights, `hot` is the share of the first model."""

    one: float = 90
    many: float = 5
    invalid: float = 5
    rows: int = 100
    hot: float = 0.8
    models: tuple[str, ...] = ()

    def weights(self) -> dict[str, float]:
        """The share of each kind; the sum is 1."""
        weights = {ONE_ROW: self.one, MANY_ROWS: self.many, INVALID: self.invalid}
        return {kind: weight / sum(weights.values()) for kind, weight in weights.items()}
