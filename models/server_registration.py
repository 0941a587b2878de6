"""The registrations of servers that follow a store. Each server writes and renews STORE/servers/<id>.json; commands
wait for these servers."""

import contextlib
import json
import os
import re
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path

from pydantic import TypeAdapter

from models.atomic_file import replace_file

SERVERS_FOLDER = "servers"
STALE_SECONDS = 30.0
"""A server that has not renewed its file for this time is regarded as stopped."""


@dataclass(frozen=True)
class WorkerGeneration:
    """The generation that a worker serves, and the problem if it does not serve the wanted generation."""

    serving_generation: int
    problem: str | None = None


@dataclass(frozen=True)
class ServerRegistration:
    """The registration of one server. `workers` contains generations by process id; `renewed` is in seconds since
    1970."""

    id: str
    pid: int
    host: str
    wanted_generation: int
    workers: Mapping[str, WorkerGeneration] = field(default_factory=dict)
    renewed: float = 0.0
    pid_namespace: str = ""
    feedback: tuple[str, ...] = ()
    """The live metrics of the served versions, one line per version."""

    @property
    def serving_generation(self) -> int:
        """The lowest generation of the workers; 0 if there are none."""
        return min((worker.serving_generation for worker in self.workers.values()), default=0)

    @property
    def problems(self) -> list[str]:
        """The problems of workers that do not serve the wanted generation."""
        return [f"worker {pid}: {worker.problem}" for pid, worker in self.workers.items() if worker.problem]


def registration(
    server_id: str,
    pid: int,
    wanted_generation: int,
    workers: Mapping[str, WorkerGeneration],
    feedback: Sequence[str] = (),
) -> ServerRegistration:
    """The registration of a server on this machine, renewed now."""
    host, namespace = socket.gethostname(), pid_namespace()
    return ServerRegistration(server_id, pid, host, wanted_generation, workers, time.time(), namespace, tuple(feedback))


def write(folder: Path, server: ServerRegistration) -> None:
    """Write or renew a registration. folder: the root of the store. Raises OSError, for example in a read-only
    store."""
    if not re.fullmatch(r"[A-Za-z0-9._-]+", server.id):
        raise ValueError(f"{server.id!r} is not the name of a file")
    (folder / SERVERS_FOLDER).mkdir(exist_ok=True)
    replace_file(folder / SERVERS_FOLDER / f"{server.id}.json", json.dumps(asdict(server), indent=1).encode() + b"\n")


def remove(folder: Path, server_id: str) -> None:
    """Remove the registration of a server, if possible."""
    with contextlib.suppress(OSError):
        (folder / SERVERS_FOLDER / f"{server_id}.json").unlink()


def read(folder: Path) -> list[ServerRegistration]:
    """The servers that follow this store. Removes the files of stopped servers if permissions allow it."""
    servers = []
    for path in sorted((folder / SERVERS_FOLDER).glob("*.json")):
        server = read_file(path)
        if server is not None and is_alive(server, time.time()):
            servers.append(server)
        elif server is not None:
            remove(folder, path.stem)
    return servers


def read_file(path: Path) -> ServerRegistration | None:
    """The registration in a file; None if the file is invalid or was removed meanwhile."""
    try:
        return _validator().validate_json(path.read_bytes())
    except (OSError, ValueError):
        return None


@cache
def _validator() -> TypeAdapter[ServerRegistration]:
    return TypeAdapter(ServerRegistration)


def is_alive(server: ServerRegistration, now: float) -> bool:
    """Whether a server has renewed its file recently and its process exists, if this process can check that."""
    if now - server.renewed > STALE_SECONDS:
        return False
    if server.host == socket.gethostname() and server.pid_namespace == pid_namespace() != "":
        with contextlib.suppress(OSError):
            return Path(f"/proc/{server.pid}").exists()
    return True


def pid_namespace() -> str:
    """The namespace in which process ids are valid on this host; empty if the system has no namespaces."""
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""
