"""Writes the output of a unit to a local folder, and then uploads it to a URL."""

import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa

from models.file_destination import RemoteFolder
from scoring.remote_job_folder import remote_errors
from scoring.unit_writer import UnitWriter


class RemoteUnitWriter(UnitWriter):
    """Writes a unit and uploads its files. folder: a local folder that only this process uses."""

    def __init__(self, folder: Path, url: str, name: str, schema: pa.Schema) -> None:
        super().__init__(folder, name, schema)
        self._url = url

    def commit(self) -> dict[str, Any]:
        """Upload the files of the unit. Returns the data of the unit for the manifest."""
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
