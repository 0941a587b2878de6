"""The base class for parts of a version that are stored as separate JSON files."""

from typing import Self

from pydantic import BaseModel, ConfigDict, ValidationError

from models.schema import SchemaError
from models.validation_problem import first_problem


class StoredDocument(BaseModel):
    """A part of a version in a JSON file. Immutable. Fields that are not set are left out of the file, so that earlier
    releases can read it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Parse the content of the file. Raises SchemaError with the place of the first error."""
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            raise SchemaError(first_problem(error)) from error

    def to_json(self) -> str:
        return self.model_dump_json(exclude_none=True) + "\n"
