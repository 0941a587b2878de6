"""Waits until the servers of a store serve a generation, and describes each of them."""

import time
from pathlib import Path

from models import server_registration
from models.server_registration import ServerRegistration
from models.store_mirror import StoreMirror
from models.text import counted

POLL_SECONDS = 0.1


def wait_for_servers(folder: Path, generation: int, seconds: float) -> tuple[list[ServerRegistration], bool]:
    """The servers that follow the store in `folder`, and whether all serve at least this generation."""
    deadline = time.monotonic() + seconds
    while True:
        servers = server_registration.read(folder)
        behind = [server for server in servers if server.serving_generation < generation]
        if not behind or time.monotonic() >= deadline:
            return servers, not behind
        time.sleep(POLL_SECONDS)


def describe_servers(servers: list[ServerRegistration], mirror: StoreMirror | None = None) -> list[str]:
    """A line for each server, for each problem of its workers, and for each version that feedback judges.

    mirror: the local copy of a store at a URL.
    """
    if mirror:
        note = f"servers on other machines follow {mirror.url} within 2 s and do not register there"
        return [*(describe_servers(servers) if servers else []), note]
    if not servers:
        return ["no server has registered in this store"]
    lines = []
    for server in servers:
        workers = counted(len(server.workers), "worker")
        line = f"server {server.id} (pid {server.pid} on {server.host}, {workers}): generation "
        behind = server.serving_generation != server.wanted_generation
        line += f"{server.serving_generation}" + (f", wants {server.wanted_generation}" if behind else "")
        lines += [line, *(f"  {text}" for text in (*server.problems, *server.feedback))]
    return lines
