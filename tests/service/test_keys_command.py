"""The command `python -m service keys`: its output, the stored keys, and refused arguments."""

import json
import stat
import threading
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

import pytest

from service.__main__ import main
from service.access.key_format import ID, new_key
from service.access.keys_file import KeysFileError, parse_keys, read_keys
from tests.service.command_runs import Command, command_runner


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TABSERVE_KEYS_FILE", str(tmp_path / "keys.json"))
    return tmp_path / "keys.json"


@pytest.fixture
def command(path: Path, capsys: pytest.CaptureFixture[str]) -> Command:
    return command_runner(capsys, "keys")


def test_a_key_is_printed_once_and_only_its_hash_is_stored(path: Path, command: Command) -> None:
    code, out, err = command("create", "shop", "--models", "homes,income", "--rate", "5", "--expires", "90d")
    key = out.strip()
    assert (code, out) == (0, f"{key}\n")
    assert "not shown again" in err
    assert key not in path.read_text()
    (stored,) = read_keys(path).keys
    assert (stored.id, stored.sha256) == (key[ID], sha256(key.encode()).hexdigest())
    assert (stored.scopes, stored.models, stored.rate, stored.burst) == (["predict"], ["homes", "income"], 5, None)
    assert stored.expires is not None
    assert timedelta(days=89) < stored.expires - datetime.now(UTC) <= timedelta(days=90)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    code, out, _ = command("list")
    assert "shop" in out
    assert "models homes, income  5/s, burst 3" in out
    assert key not in out
    assert stored.sha256 not in command("list", "--json")[1]


def test_keys_have_256_random_bits_and_differ() -> None:
    keys = [new_key() for _ in range(100)]
    assert len({key.text for key in keys}) == len({key.id for key in keys}) == 100
    assert all(len(key.text[ID.stop + 1 :]) == 43 for key in keys)  # 43 characters of 6 bits


def test_a_rotated_key_and_its_successor_are_both_valid(path: Path, command: Command) -> None:
    first = command("create", "shop", "--scope", "predict", "--scope", "metrics", "--rate", "7")[1].strip()
    code, out, err = command("rotate", "shop", "--overlap", "2h")
    second = out.strip()
    assert (code, second != first) == (0, True)
    assert f"the key {first[ID]} is valid until" in err
    old, new = read_keys(path).keys
    assert (old.id, new.id) == (first[ID], second[ID])
    assert (new.scopes, new.rate, new.expires) == (["predict", "metrics"], 7, None)
    assert old.expires is not None
    assert command("rotate", "shop")[0] == 1
    assert command("revoke", first[ID])[1] == f"revoked shop ({first[ID]})\n"
    assert [key.id for key in read_keys(path).keys] == [second[ID]]
    assert command("rotate", "shop")[0] == 0
    assert command("revoke", "shop")[1].count("revoked") == 2


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (["create", "none"], 1, "reserved"),
        (["create", "a\nb"], 1, "name:"),
        (["create", "a", "--burst", "3"], 1, "a burst needs a rate"),
        (["create", "a", "--models", "no/model"], 1, "models"),
        (["revoke", "nobody"], 1, "there is no key 'nobody'"),
        (["rotate", "nobody"], 1, "there is no key 'nobody'"),
        (["list"], 1, "no such file"),
        (["create", "a", "--scope", "root"], 2, "invalid choice"),
        (["create", "a", "--rate", "0"], 2, "not a number from"),
        (["create", "a", "--expires", "soon"], 2, "not a date"),
        (["create", "a", "--expires", "2001-01-01"], 2, "in the past"),
        (["create", "a", "--file", "/no/such/folder/keys.json"], 1, "No such file"),
        ([], 2, "required"),
    ],
)
def test_invalid_arguments_are_reported_in_one_line(
    command: Command, words: list[str], code: int, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        found, out, err = command(*words)
    except SystemExit as ended:
        found, out, err = int(str(ended.code)), "", capsys.readouterr().err
    assert (found, out, err.count("\n")) == (code, "", 1)
    assert text in err


def test_the_name_of_a_key_can_be_reused_after_its_expiry(path: Path, command: Command) -> None:
    command("create", "shop", "--expires", "1s")
    document = json.loads(path.read_text())
    code, _, err = command("create", "shop")
    assert (code, "`keys rotate` replaces it" in err) == (1, True)
    document["keys"][0]["expires"] = "2020-01-01T00:00:00Z"
    path.write_text(json.dumps(document))
    assert "expired" in command("list")[1]
    assert command("rotate", "shop")[0] == 1
    assert command("create", "shop")[0] == 0
    assert len(read_keys(path).keys) == 1


def test_changes_keep_the_mode_of_the_file_and_symbolic_links(path: Path, command: Command, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    real = tmp_path / "real/keys"
    path.symlink_to(real)
    command("create", "a")
    real.chmod(0o640)
    command("create", "b")
    assert path.is_symlink()
    assert stat.S_IMODE(real.stat().st_mode) == 0o640
    assert [key.name for key in read_keys(path).keys] == ["a", "b"]
    assert [found.name for found in (tmp_path / "real").iterdir()] == ["keys"]


def test_concurrent_commands_lose_no_keys(path: Path) -> None:
    threads = [threading.Thread(target=main, args=(["keys", "create", f"key{number}"],)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(read_keys(path).keys) == 8


@pytest.mark.parametrize(
    "content",
    [
        *("", "{", "[]", "null", '{"keys": 1}', '{"format": 2, "keys": []}', '{"keys": [{}]}', '{"keys": [], "x": 1}'),
        '{"keys": [{"name": "a", "id": "short", "sha256": "00", "scopes": ["admin"], "created": "2026-01-01T00:00"}]}',
    ],
)
def test_an_invalid_key_file_is_reported_in_one_line(content: str) -> None:
    with pytest.raises(KeysFileError) as error:
        parse_keys(content.encode())
    assert "\n" not in str(error.value)


def test_ids_and_times_of_keys_are_validated() -> None:
    key = {"name": "a", "id": "abcdefghijkm", "sha256": "0" * 64, "scopes": ["predict"], "created": "2026-01-01T00:00Z"}
    for keys, text in (
        ([key, key], "occurs twice"),
        ([{**key, "expires": "2026-01-01T00:00"}], "zone"),
        ([{**key, "rate": -1}], "rate"),
        ([{**key, "scopes": []}], "scopes"),
        ([{**key, "scopes": ["root"]}], "scopes"),
        ([{**key, "name": "a b"}], "name"),
    ):
        with pytest.raises(KeysFileError, match=text):
            parse_keys(json.dumps({"keys": keys}).encode())
    assert parse_keys(json.dumps({"keys": [{**key, "rate": 5}]}).encode()).keys[0].rate == 5
