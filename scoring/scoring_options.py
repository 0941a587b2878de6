"""The options of bulk scoring that change the output."""

from dataclasses import dataclass, field
from typing import Any, Self

from models.output_options import OutputOptions


@dataclass(frozen=True)
class ScoringOptions:
    """The options of the output. keep: input columns that are copied to the output. outputs: intervals, label sets and
    explanations.

    ignore_unknown: leave out columns that the model does not have, instead of reporting errors.
    """

    keep: tuple[str, ...] = ()
    outputs: OutputOptions = field(default_factory=OutputOptions)
    ignore_unknown: bool = False

    def to_json(self) -> dict[str, Any]:
        return {
            "keep": list(self.keep),
            "interval": list(self.outputs.intervals),
            "set": list(self.outputs.sets),
            "explain": self.outputs.explain,
            "ignore_unknown": self.ignore_unknown,
        }

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Self:
        outputs = OutputOptions(tuple(document["interval"]), tuple(document["set"]), document["explain"])
        return cls(tuple(document["keep"]), outputs, document["ignore_unknown"])


NO_OPTIONS = ScoringOptions()
