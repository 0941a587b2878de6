"""Repairs the store after a training run was killed: removes unfinished folders and corrects `latest`.

`latest` is a file of BentoML in the folder of a model with the name of the newest version. The commands of BentoML need
it; this project finds versions by their folders.
"""

import contextlib
import re
from datetime import UTC, datetime
from pathlib import Path

from models import unfinished_folder
from models.atomic_file import replace_file
from models.text import truncate
from models.version_folder import DESCRIPTION_FILE

CREATED = re.compile(r"^creation_time: *['\"]?(.+?)['\"]?$", re.MULTILINE)
OLDEST = datetime.min.replace(tzinfo=UTC)


def repair_store(store: Path) -> list[str]:
    """Repair a folder of models. Returns a sentence for each repair. A store that cannot be changed is left as it
    is."""
    repairs = []
    if removed := unfinished_folder.remove_leftovers(store):
        repairs.append(f"removed {removed} unfinished version(s) that an interrupted training run left in {store}")
    for latest in sorted(store.glob("*/latest")):
        with contextlib.suppress(OSError):
            repairs += _repair_latest(latest)
    return repairs


def write_latest(model: Path) -> None:
    """Write the name of the newest version to `latest` atomically."""
    newest = _newest(model)
    if newest is not None:
        replace_file(model / "latest", newest.encode())


def _repair_latest(latest: Path) -> list[str]:
    before, newest = latest.read_text(encoding="utf-8", errors="replace").strip(), _newest(latest.parent)
    if newest is None or before == newest:
        return []
    write_latest(latest.parent)
    was = f"named {truncate(before)!r}" if before else "was empty"
    return [f"{latest} {was} and now names {newest}, the newest version"]


def _newest(model: Path) -> str | None:
    """The name of the version that was created last, which is the newest for BentoML; None if there is none."""
    complete = [folder for folder in model.glob("*/") if (folder / DESCRIPTION_FILE).is_file()]
    return max(complete, key=_age_order).name if complete else None


def _age_order(version: Path) -> tuple[datetime, int]:
    found = CREATED.search((version / DESCRIPTION_FILE).read_text(encoding="utf-8", errors="replace"))
    try:
        created = datetime.fromisoformat(found[1]) if found else OLDEST
    except ValueError:
        created = OLDEST
    created = created if created.tzinfo else created.replace(tzinfo=UTC)
    return created, int(version.name) if version.name.isdecimal() else 0
