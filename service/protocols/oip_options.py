"""The options of an infer request: the outputs that it names request intervals, label sets and explanations.

`low` and `high` are the ends of an interval, `set` the label set, `baseline` and `contributions` the explanation. The
parameters `level` (by default 0.9) and `explain` (`true` or `fast`) belong to these outputs or to the request.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from models.option_parsing import parse_explain, parse_level
from models.optional_columns import BASELINE, CONTRIBUTIONS
from models.output_options import OptionError, OutputOptions
from service.error_mapping import translate_option_errors
from service.protocols.oip_tensors import InferRequest

DEFAULT_LEVEL = 0.9
OPTIONS = {"low": "intervals", "high": "intervals", "set": "sets", BASELINE: "explain", CONTRIBUTIONS: "explain"}


def requested_options(inference: InferRequest) -> OutputOptions:
    """Raises RequestNotValid for parameters that are invalid or contradict each other."""
    if not inference.outputs or OPTIONS.keys().isdisjoint(name for name, _ in inference.outputs):
        return NO_OPTIONS
    with translate_option_errors():
        options: dict[str, Any] = {}
        for option, value in named_options(inference):
            if options.setdefault(option, value) != value:
                raise OptionError("the requested outputs have different values of 'level' or 'explain', expected one")
        return OutputOptions(**options)


def named_options(inference: InferRequest) -> Iterator[tuple[str, Any]]:
    """The option of each requested output, with its value."""
    for name, own in inference.outputs:
        option = OPTIONS.get(name)
        parameters = {**inference.parameters, **own}
        if option == "explain":
            yield option, explain_mode(parameters)
        elif option:
            yield option, (parse_level(parameters.get("level", DEFAULT_LEVEL)),)


def explain_mode(parameters: Mapping[str, Any]) -> str:
    mode = parse_explain(parameters.get("explain", True))
    if mode == "none":
        raise OptionError("explain=false contradicts the requested outputs")
    return mode


NO_OPTIONS = OutputOptions()
