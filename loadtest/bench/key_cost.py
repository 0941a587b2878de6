"""The cost of API keys: a request with one row to a server with keys, and to the same server without keys.

Requests to the server with keys contain a key whose rate limit they do not reach.
"""

import dataclasses
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from loadtest.bench import checkouts, paired_ratios
from loadtest.bench.checkouts import CheckoutComparison, contender_in_checkout
from loadtest.bench.clients import JSON
from loadtest.bench.server_process import rows_of
from loadtest.bench.server_scenarios import ROOT, EncodedBody, as_json, goal_line, tabserve_server
from loadtest.bench.servers import train
from models import text_tables
from models.text import counted

MODEL, CONNECTIONS = "housing", 32
GOAL = 1.05
RATE = "1000000"
KEYS_FILE = "TABSERVE_KEYS_FILE"


def create_key(path: Path, name: str, *options: str) -> Mapping[str, str]:
    """Create a key. Returns the headers of a request with this key."""
    command = [sys.executable, "-m", "service", "keys", "create", name, *options]
    environment = os.environ | {KEYS_FILE: str(path)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    return {**JSON, "authorization": f"Bearer {done.stdout.strip()}"}


def comparison_of(store: Path, home: Path) -> CheckoutComparison:
    keys = home / "keys.json"
    headers = create_key(keys, "bench", "--rate", RATE, "--models", MODEL)
    plain = as_json(rows_of(store, MODEL, 1))
    server = tabserve_server("", MODEL)
    with_keys = dataclasses.replace(server, settings={**server.settings, KEYS_FILE: str(keys)})
    old, new = contender_in_checkout("without keys", server, ROOT), contender_in_checkout("with keys", with_keys, ROOT)
    return CheckoutComparison(old, new, plain, CONNECTIONS, store, home, EncodedBody(plain.content, headers))


def table(rounds: Sequence[checkouts.PairedRound]) -> list[list[str]]:
    """The table of a comparison, with other names for the two servers."""
    _, *lines = checkouts.table(rounds)
    return [["", "without keys", "with keys", "with ÷ without", "95 % interval"], *lines]


def run(rounds: int, seconds: float, markdown: Path | None) -> int:
    """Print a table. Returns 1 if the goal is missed."""
    with tempfile.TemporaryDirectory(prefix="tabserve-keys-") as folder:
        home = Path(folder)
        print("training the model", file=sys.stderr)
        found, requests = checkouts.compare(comparison_of(train(home, {MODEL}), home), rounds, seconds)
    title = (
        f"one row of {MODEL}, one worker, {CONNECTIONS} connections; {counted(rounds, 'round')} of "
        f"{checkouts.TURNS} turns of {counted(requests, 'request', spec=',')} for each server"
    )
    ratio = paired_ratios.ratio([one.old.cpu_us for one in found], [one.new.cpu_us for one in found])
    errors = sum(one.old.errors + one.new.errors for one in found)
    good = ratio.median <= GOAL and not errors
    result = f"with a key and a rate limit: {ratio.median:.3f} times the cost without"
    outcome = goal_line(result, f"at most {GOAL:g}", good)
    print(
        f"\n{title}\n\n{text_tables.aligned(table(found))}\n\n{checkouts.explanation(found)}\n\n{outcome}", flush=True
    )
    if markdown:
        markdown.write_text(f"{title}\n\n{text_tables.markdown(table(found))}\n\n{outcome}\n", encoding="utf-8")
    return int(not good)
