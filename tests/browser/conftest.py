"""Fixtures of the browser tests: a headless Chromium, servers, and models that are trained in seconds."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, expect, sync_playwright

from tests.browser import tables
from tests.service.access_keys import KeySet
from tests.service.conftest import Server, clean_environment

ROOT = Path(__file__).resolve().parents[2]
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium")
WAIT_MS = int(os.environ.get("WAIT_MS", "60000"))  # timeout of every wait, generous for slow machines
QUICK = ("--framework", "numpy", "--no-baselines", "--dropout", "0.1", "--final", "train")
DEFAULT_MODELS = ("housing", "income", "penguins")
AWKWARD_MODELS = ("wide", "towns", "names")
MODELS = (*DEFAULT_MODELS, *AWKWARD_MODELS)
EXPECTED_MESSAGE = "Failed to load resource"  # the browser's message for each response with an error status
WIDE, NARROW = {"width": 1280, "height": 900}, {"width": 360, "height": 740}


def train(home: Path, *arguments: str) -> None:
    command = [sys.executable, "-m", "tests.quick_training", *arguments, *QUICK]
    done = subprocess.run(command, cwd=ROOT, env=clean_environment(home), capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr


def training_commands(folder: Path) -> list[list[list[str]]]:
    """The arguments of all training commands. The commands of one inner list run in sequence."""
    housing = [
        ["--data", str(tables.sampled_table("housing", 2500, folder, seed)), "--name", "housing"] for seed in (1, 2)
    ]
    own = ((tables.wide_table, "output"), (tables.many_levels_table, "sold"), (tables.unusual_names_table, "kind"))
    wide_table, towns, names = (
        ["--data", str(make(folder)), "--target", target, "--epochs", "2"] for make, target in own
    )
    income = ["--data", str(tables.sampled_table("income", 2500, folder)), "--name", "income", "--target", "income"]
    return [
        [[*one, "--target", "MedHouseVal", "--epochs", "6"] for one in housing],
        [wide_table],
        [[*towns, "--categorical", "town"]],
        [[*income, "--epochs", "4"]],
        [names],
        [["penguins", "--epochs", "20"]],
    ]


@pytest.fixture(scope="session")
def trained_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with small versions of the default models, two of housing, and models of awkward tables.

    The environment variable TRAINED_HOME names the store of an earlier run; then no model is trained.
    """
    if earlier := os.environ.get("TRAINED_HOME"):
        return Path(earlier)
    home, folder = tmp_path_factory.mktemp("trained"), tmp_path_factory.mktemp("tables")

    def run(commands: list[list[str]]) -> None:
        for arguments in commands:
            train(home, *arguments)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(run, training_commands(folder)))
    return home


@pytest.fixture(scope="session")
def start_server(tmp_path_factory: pytest.TempPathFactory, trained_home: Path) -> Iterator[Callable[..., Server]]:
    """start_server(**settings) starts a server of two workers on a copy of the trained store."""
    started: list[Server] = []

    def start(**settings: str) -> Server:
        home = tmp_path_factory.mktemp("served") / "home"
        shutil.copytree(trained_home, home)
        settings = {"TABSERVE_WORKERS": "2", "TABSERVE_DRAIN_S": "0", **settings}
        server = Server(clean_environment(home, **settings), home / "log")
        server.start()
        started.append(server)
        return server

    yield start
    for server in started:
        server.stop()


@pytest.fixture(scope="session")
def server(start_server: Callable[..., Server]) -> Server:
    """A server of all models. Tests that change the served versions start a separate server."""
    return start_server()


@dataclass
class KeyedServer:
    server: Server
    keys: KeySet


@pytest.fixture(scope="session")
def keyed(start_server: Callable[..., Server], tmp_path_factory: pytest.TempPathFactory) -> KeyedServer:
    """A server that requires API keys: one key for each scope, one for all scopes, one for a single model."""
    keys = KeySet(tmp_path_factory.mktemp("keys") / "keys.json")
    keys.add("predict", "predict")
    keys.add("metrics", "predict", "metrics")
    keys.add("all", "predict", "metrics", "admin")
    keys.add("penguins", "predict", "metrics", models=["penguins"])
    return KeyedServer(start_server(TABSERVE_KEYS_FILE=str(keys.path)), keys)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    assert CHROMIUM, "Chromium is missing; make browser-check shows which package to install"
    expect.set_options(timeout=WAIT_MS)
    with sync_playwright() as playwright:
        # Chromium's sandbox needs privileges that containers lack; the tests open only trusted pages
        launched = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield launched
        launched.close()


@dataclass
class Visit:
    """A page of the browser, its console messages, and the addresses that it requested."""

    page: Page
    messages: list[str] = field(default_factory=list)
    requested: list[str] = field(default_factory=list)

    def note_message(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and not message.text.startswith(EXPECTED_MESSAGE):
            self.messages.append(message.text)

    def check(self) -> None:
        """Assert that the console has no message and that all requests went to one origin."""
        assert self.messages == []
        origins = {urlsplit(url)[:2] for url in self.requested if not url.startswith(("data:", "blob:"))}
        assert len(origins) <= 1, origins


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Callable[..., Page]]:
    """open_page(address, **options) opens a page in a new browser context. Each page is checked when the test ends.

    scripts: run before the scripts of the page, whatever its Content-Security-Policy allows.
    """
    visits: list[Visit] = []
    contexts: list[BrowserContext] = []

    def open_in_new_context(address: str, scripts: Sequence[str] = (), **options: Any) -> Page:
        context = browser.new_context(**{"viewport": WIDE, "locale": "en-GB", **options})
        context.set_default_timeout(WAIT_MS)
        contexts.append(context)
        for script in scripts:
            context.add_init_script(script)
        visit = Visit(context.new_page())
        visit.page.on("console", visit.note_message)
        visit.page.on("pageerror", lambda error: visit.messages.append(str(error)))
        visit.page.on("request", lambda request: visit.requested.append(request.url))
        visits.append(visit)
        visit.page.goto(address)
        return visit.page

    yield open_in_new_context
    for visit in visits:
        visit.check()
    for context in contexts:
        context.close()
