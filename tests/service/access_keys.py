"""Creates key files for the tests of access control."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from service.access.caller import Scope
from service.access.key_format import new_key
from service.access.keys_file import Keys, StoredKey, write_keys

NOW = datetime.now(UTC).replace(microsecond=0)
LONG_AGO = NOW - timedelta(days=1)


@dataclass
class KeySet:
    """A key file and the texts of its keys, by name."""

    path: Path
    texts: dict[str, str] = field(default_factory=dict)
    stored: list[StoredKey] = field(default_factory=list)

    def add(self, name: str, *scopes: Scope, **more: Any) -> str:
        """Add a key and write the file. Returns the text of the key."""
        made = new_key()
        fields = {"name": name, "id": made.id, "sha256": made.digest.hex(), "created": NOW, **more}
        chosen: list[Scope] = [*scopes] or ["predict"]
        self.stored.append(StoredKey(scopes=chosen, **fields))
        self.texts[name] = made.text
        self.write()
        return made.text

    def write(self) -> None:
        write_keys(self.path, Keys(keys=self.stored))


def key_headers(key: str | None) -> dict[str, str]:
    return {} if key is None else {"authorization": f"Bearer {key}"}
