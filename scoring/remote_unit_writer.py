"""Writes the output of a unit to a folder of this machine, and then to a URL."""

import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa

from models.file_destination import RemoteFolder
from scoring.remote_job_folder import remote_errors
from scoring.unit_writer import UnitWriter


class RemoteUnitWriter(UnitWriter):
    """folder: of this machine, for this process alone."""

    def __init__(self, folder: Path, url: str, name: str, schema: pa.Schema) -> None:
        super().__init__(folder, name, schema)
        self._url = url

    def commit(self) -> dict[str, Any]:
        """Upload the files of the unit. Returns what the manifest lists about them."""
        entry = super().commit()
        try:
            with remote_errors(self._url):
                remote = RemoteFolder(self._url)
                for name in filter(None, (entry["errors"], entry["output"])):
                    remote.upload(name, self._folder / name)
        finally:
            shutil.rmtree(self._folder)
            self._folder.mkdir()
        return entry
