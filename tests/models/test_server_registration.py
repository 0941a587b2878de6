"""Servers register in their store; the registration of a stopped server is removed."""

import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from models import server_registration
from models.server_registration import STALE_SECONDS, ServerRegistration, WorkerGeneration, registration

SOON = '{"id": "x", "pid": 1, "host": "h", "wanted_generation": 1, "workers": {}, "renewed": "soon"}'


@pytest.fixture
def server() -> ServerRegistration:
    workers = {"11": WorkerGeneration(4), "12": WorkerGeneration(3, "housing:4 cannot be read")}
    return registration("a-3000", os.getpid(), 4, workers, ["housing:4 (champion): mae 0.3"])


def test_registration_is_read_back_unchanged(tmp_path: Path, server: ServerRegistration) -> None:
    assert server_registration.read(tmp_path) == []
    server_registration.write(tmp_path, server)
    [found] = server_registration.read(tmp_path)
    assert found == server
    assert found.serving_generation == 3
    assert found.problems == ["worker 12: housing:4 cannot be read"]
    assert [path.name for path in (tmp_path / "servers").iterdir()] == ["a-3000.json"]
    server_registration.remove(tmp_path, server.id)
    assert server_registration.read(tmp_path) == []


def test_server_that_does_not_renew_its_registration_is_removed(tmp_path: Path, server: ServerRegistration) -> None:
    server_registration.write(tmp_path, replace(server, host="elsewhere", renewed=time.time() - STALE_SECONDS - 1))
    server_registration.write(tmp_path, replace(server, id="other", host="elsewhere"))
    assert [found.id for found in server_registration.read(tmp_path)] == ["other"]
    assert [path.name for path in (tmp_path / "servers").iterdir()] == ["other.json"]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the test needs /proc")
def test_server_whose_process_has_ended_is_removed(tmp_path: Path, server: ServerRegistration) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        ended.wait()
    server_registration.write(tmp_path, replace(server, pid=ended.pid))
    assert server_registration.read(tmp_path) == []


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"workers": 3}', '{"workers": {}, "more": 1}', SOON])
def test_invalid_file_is_ignored(tmp_path: Path, text: str) -> None:
    (tmp_path / "servers").mkdir()
    (tmp_path / "servers" / "x.json").write_text(text)
    assert server_registration.read(tmp_path) == []


def test_no_file_outside_the_folder_is_removed(tmp_path: Path, server: ServerRegistration) -> None:
    server_registration.write(tmp_path, replace(server, renewed=0.0))
    other, file = tmp_path / "other.json", tmp_path / "servers" / "a-3000.json"
    other.touch()
    file.write_text(file.read_text().replace("a-3000", "../other"))
    assert server_registration.read(tmp_path) == []
    assert other.exists()
    assert not file.exists()


def test_id_that_is_not_a_file_name_is_refused(tmp_path: Path, server: ServerRegistration) -> None:
    with pytest.raises(ValueError, match="not the name of a file"):
        server_registration.write(tmp_path, replace(server, id="../x"))
