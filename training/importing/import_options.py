"""The options of the command `import`."""

from dataclasses import dataclass
from typing import Literal

OutputForm = Literal["logits", "probabilities", "value"]
Preprocessing = Literal["none", "inside", "fit"]


@dataclass(frozen=True)
class ImportOptions:
    """The options of an import.

    model: the path of the file. output, preprocessing: None if the model determines them. head: the name of the output.
    """

    model: str
    output: OutputForm | None = None
    preprocessing: Preprocessing | None = None
    head: str | None = None
