"""Prints the content of the image as CycloneDX 1.6: Python packages, Debian packages and models.

The script runs inside the image, so it reports the installed packages and not the requested ones. It needs only the
standard library.
"""

import json
import os
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from email import message_from_string
from hashlib import sha256
from importlib import metadata
from pathlib import Path
from typing import Any
from urllib.parse import quote

Component = dict[str, Any]
DPKG = Path("/var/lib/dpkg/status")


def python_packages() -> Iterator[Component]:
    for package in metadata.distributions():
        name, version = package.metadata["Name"].lower().replace("_", "-"), package.version
        found = component("library", name, version, f"pkg:pypi/{name}@{quote(version)}")
        if expression := package.metadata["License-Expression"]:
            found["licenses"] = [{"expression": expression}]
        yield found


def debian_packages() -> Iterator[Component]:
    for paragraph in DPKG.read_text(encoding="utf-8").strip().split("\n\n") if DPKG.is_file() else ():
        package = message_from_string(paragraph)
        if package["Status"].endswith(" installed"):
            name, version = package["Package"], package["Version"]
            purl = f"pkg:deb/debian/{name}@{quote(version, safe='')}?arch={package['Architecture']}"
            yield component("library", name, version, purl)


def models(store: Path) -> Iterator[Component]:
    """Each version with one digest over its files."""
    for folder in sorted(store.glob("*/*/")):
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        digest = sha256()
        for path in files:
            digest.update(f"{path.relative_to(folder)}\0{sha256(path.read_bytes()).hexdigest()}\n".encode())
        name, version = folder.parent.name, folder.name
        found = component("machine-learning-model", name, version, f"pkg:generic/tabserve/{name}@{version}")
        yield {**found, "hashes": [{"alg": "SHA-256", "content": digest.hexdigest()}]}


def component(kind: str, name: str, version: str, purl: str) -> Component:
    return {"type": kind, "bom-ref": purl, "name": name, "version": version, "purl": purl}


def main() -> None:
    bento = Path(os.environ["BENTO_PATH"])
    found = [*python_packages(), *debian_packages(), *models(bento / "models")]
    document = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid4()}",
        "version": 1,
        "metadata": {
            "timestamp": datetime.now(UTC).isoformat(timespec="seconds"),
            "component": {"type": "container", "name": "tabserve"},
        },
        "components": list({each["bom-ref"]: each for each in found}.values()),
    }
    print(json.dumps(document, indent=1))


if __name__ == "__main__":
    main()
