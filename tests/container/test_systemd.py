"""The unit deploy/tabserve.service, tested without a running systemd."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from service.settings import Settings
from tests.container.containers import ROOT, run, skip_or_fail

UNIT = (ROOT / "deploy" / "tabserve.service").read_text()


@pytest.fixture
def analyze() -> str:
    found = shutil.which("systemd-analyze")
    return found or skip_or_fail("systemd-analyze is not installed")


def test_systemd_analyze_accepts_every_line_of_the_unit(analyze: str, tmp_path: Path) -> None:
    unit = tmp_path / "tabserve.service"
    unit.write_text(UNIT.replace("/opt/tabserve/.venv/bin/bentoml", shutil.which("true") or ""))
    assert run(analyze, "verify", str(unit)) == ""
    unit.write_text(unit.read_text().replace("ProtectSystem=", "ProtectSytem="))
    assert "ProtectSytem" in run(analyze, "verify", str(unit), check=False), (
        "systemd-analyze did not report a misspelled option"
    )


def test_the_unit_has_a_low_exposure_level(analyze: str) -> None:
    report = run(analyze, "security", "--offline=true", "deploy/tabserve.service", check=False)
    exposure = re.search(r"Overall exposure level for tabserve.service: ([0-9.]+)", report)
    assert exposure, report
    print(f"\n{exposure[0]}")
    assert float(exposure[1]) < 2.5


def test_keys_and_certificates_are_read_from_credentials(analyze: str, tmp_path: Path) -> None:
    """systemd accepts the drop-in file, which loads every credential that its settings use."""
    secrets = (ROOT / "deploy" / "tabserve-secrets.conf").read_text()
    unit, folder = tmp_path / "tabserve.service", tmp_path / "tabserve.service.d"
    unit.write_text(UNIT.replace("/opt/tabserve/.venv/bin/bentoml", shutil.which("true") or ""))
    folder.mkdir()
    (folder / "secrets.conf").write_text(secrets)
    assert run(analyze, "verify", str(unit)) == ""
    loaded = set(re.findall(r"^LoadCredential=([^:]+):", secrets, re.MULTILINE))
    assert loaded == set(re.findall(r"%d/([\w.]+)", secrets))
    options = dict(re.findall(r'^Environment="?(\w+)=(.*?)"?$', secrets, re.MULTILINE))
    assert set(options) == {"TABSERVE_KEYS_FILE", "TABSERVE_TRUSTED_KEYS", "TLS_OPTIONS"}
    assert "$TLS_OPTIONS" in UNIT


def test_the_command_and_environment_of_the_unit_are_valid() -> None:
    """BentoML supports the options of ExecStart, and all environment variables are known settings."""
    [command] = re.findall(r"^ExecStart=/opt/tabserve/\.venv/bin/(.*)$", UNIT, re.MULTILINE)
    options = set(re.findall(r"--[a-z-]+", command))
    help_text = subprocess.run(
        [str(ROOT / ".venv/bin/bentoml"), "serve", "--help"], capture_output=True, text=True, check=True, timeout=300
    ).stdout
    assert options <= set(re.findall(r"--[a-z-]+", help_text))
    lines = re.findall(r"^Environment=(.*)$", UNIT, re.MULTILINE)
    environment = dict(pair.split("=", 1) for pair in " ".join(lines).split())
    assert environment.pop("TLS_OPTIONS") == ""
    assert Settings.from_environment(environment).admin == "off"
    assert set(re.findall(r"\$\{(\w+)\}", command)) <= environment.keys()
