"""The option `--schema`: a features.json that the user edited, which overrides inference."""

import json
from pathlib import Path

from models.schema import FeatureSchema, SchemaError
from training.config import DataOptions
from training.errors import UsageError

REPLACED_FLAGS = ("drop", "categorical", "number", "date", "text", "na")


def load_edited_schema(options: DataOptions) -> FeatureSchema | None:
    """The schema of `--schema`, if there is one. Raises UsageError."""
    if options.schema is None:
        return None
    flag = next((flag for flag in REPLACED_FLAGS if getattr(options, flag)), None)
    if flag:
        raise UsageError(f"--schema replaces --{flag}: leave the flag out and edit {options.schema}")
    try:
        return FeatureSchema.from_json(_without_statistics(Path(options.schema).read_bytes()))
    except OSError as error:
        raise UsageError(f"--schema {options.schema} cannot be read: {error.strerror or error}") from None
    except SchemaError as error:
        raise UsageError(f"--schema {options.schema}: {error}") from None


def _without_statistics(text: bytes) -> bytes:
    """The JSON without the statistics, which are computed from the table again and may not fit an edited type.

    The levels of a category remain, because their type is needed.
    """
    try:
        schema = json.loads(text)
        for feature in schema["features"]:
            feature.pop("example", None)
            feature.pop("score", None)
            if feature.get("kind") != "category" or not {"levels", "type"} & set(feature.get("seen", ())):
                feature.pop("seen", None)
            else:
                feature["seen"].pop("hashed", None)
        return json.dumps(schema).encode()
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return text  # `from_json` reports what is invalid
