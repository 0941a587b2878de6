"""With TABSERVE_TRUSTED_KEYS, unsigned and altered versions are refused: at the start, at a hot swap, by the routes
that change versions, and by the commands.
"""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from models import serving_changes, signature, version_files
from models.aliases import CHAMPION
from models.serving_file import ServingChange, ServingFile
from service import model_selection
from service.model_selection import SelectionError
from service.settings import Settings, SettingsError
from service.worker_files import PrepareRequest
from tests.service.command_runs import Command, command_runner
from tests.service.conftest import random_version, schemas
from tests.service.test_version_changes import Admin
from tests.signing_keys import write_keys


@pytest.fixture(scope="module")
def private_key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_keys(tmp_path_factory.mktemp("keys"))[0]


@pytest.fixture
def public_key(private_key: Path) -> Path:
    return private_key.with_name("key.pub")


@pytest.fixture(scope="module")
def signed_store(tmp_path_factory: pytest.TempPathFactory, private_key: Path) -> Path:
    """A store with the signed versions homes:1 and homes:2 and the unsigned version homes:3."""
    root = tmp_path_factory.mktemp("signed")
    for version in (1, 2, 3):
        folder = root / "homes" / str(version)
        folder.mkdir(parents=True)
        version_files.write(folder, random_version(schemas()[0], seed=version))
        if version < 3:
            signature.sign(folder, signature.read_private_key(private_key), f"homes:{version}")
    return root


@pytest.fixture
def root(signed_store: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(signed_store, tmp_path / "store"))


@pytest.fixture
def admin(root: Path, public_key: Path) -> Iterator[Admin]:
    """Sends requests to a worker that trusts the key."""
    client = Admin(root, trusted_keys=(public_key,))
    yield client
    client.worker.close()


@pytest.fixture
def command(
    root: Path, public_key: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Command:
    """command("promote", "homes:2") runs a command and returns exit code, output and errors."""
    monkeypatch.setenv("TABSERVE_STORE", str(root))
    monkeypatch.setenv("TABSERVE_TRUSTED_KEYS", str(public_key.parent / "key.pub"))

    return command_runner(capsys)


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_an_unsigned_version_is_not_served_at_the_start(root: Path, public_key: Path) -> None:
    [model] = model_selection.select_models(Settings(store=root, trusted_keys=(public_key,)))
    assert model.tag == "homes:2"
    assert model_selection.select_models(Settings(store=root))[0].tag == "homes:3"
    with pytest.raises(SelectionError, match=r"homes:3 in .* is not trusted: it is not signed"):
        model_selection.select_models(Settings(store=root, models=("homes:3",), trusted_keys=(public_key,)))


def test_a_flipped_bit_in_any_file_is_refused_at_a_hot_swap(root: Path, admin: Admin) -> None:
    """A worker refuses to prepare the version, for a route or for another worker."""

    def prepare() -> str | None:
        return admin.worker.runner.run(admin.worker.follower.prepare(PrepareRequest("id", "homes", [1])))

    names = sorted(path.name for path in (root / "homes/1").iterdir())
    assert {"manifest.json", "model.sig"} < set(names)
    for name in names:
        path = root / "homes/1" / name
        content = path.read_bytes()
        flip_a_bit(path)
        assert "homes:1" in (error := prepare() or "")
        assert f"is not trusted: its file {name} was altered" in error or name == "model.sig"
        path.write_bytes(content)
    (root / "homes/1/added.json").write_text("{}")
    assert "its file added.json is not signed" in (prepare() or "")
    (root / "homes/1/added.json").unlink()
    assert prepare() is None


def test_a_running_server_does_not_switch_to_an_altered_version(root: Path, admin: Admin) -> None:
    flip_a_bit(root / "homes/1/weights.npz")
    change = ServingChange(
        "homes", "promote", lambda state: serving_changes.promote(state, 1, by_person=True), "a test"
    )
    ServingFile(root).apply(change)
    admin.worker.poll()
    assert admin.aliases == {CHAMPION: "2"}
    assert "its file weights.npz was altered after it was signed" in admin.worker.problems["homes:1"]


def test_the_routes_refuse_an_unsigned_version(root: Path, admin: Admin) -> None:
    reply = admin("POST", "/models/homes/promote", {"version": 3})
    assert (reply.status, reply.codes) == (409, ["not_loadable"])
    assert "it is not signed: it has no model.sig" in reply.content.decode()
    assert not (root / "serving.json").exists()
    assert admin("POST", "/models/homes/promote", {"version": 1}).status == 200


def test_the_commands_refuse_an_unsigned_version(root: Path, command: Command) -> None:
    for words in (("promote", "homes:3"), ("canary", "homes:3", "--percent", "5")):
        code, _, error = command(*words)
        assert code == 1
        assert "it is not signed: it has no model.sig (TABSERVE_TRUSTED_KEYS)" in error
    assert not (root / "serving.json").exists()


def test_verify_reports_the_signing_key(root: Path, command: Command, public_key: Path) -> None:
    code, out, _ = command("verify", "homes:2")
    assert code == 0
    key = signature.key_hash(signature.read_public_key(public_key))
    assert "all files are those that were stored; SHA-256 of the manifest: " in out
    assert f"signed by the trusted key {key}" in out
    flip_a_bit(root / "homes/2/features.json")
    code, _, error = command("verify", "homes:2")
    assert (code, error.count("\n")) == (1, 1)
    assert "its file features.json was altered" in error
    assert command("verify", "homes:9")[0] == 1


def test_verify_without_keys_checks_the_manifest(
    root: Path, command: Command, public_key: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TABSERVE_TRUSTED_KEYS")
    assert command("verify", "homes:3")[:2] == (0, command("verify", "homes:3")[1])
    assert "not signed" in command("verify", "homes:3")[1]
    assert "the signature was not checked" in command("verify", "homes:2")[1]
    assert "it is not signed" in command("verify", "homes:3", "--trusted-keys", str(public_key))[2]
    assert "cannot be read" in command("verify", "homes:3", "--trusted-keys", str(root / "none"))[2]
    (root / "homes/3/manifest.json").unlink()
    assert "its files were not checked" in command("verify", "homes:3")[1]


def test_a_stored_version_can_be_signed_later(root: Path, command: Command, private_key: Path) -> None:
    code, out, _ = command("sign", "homes:3", "--key", str(private_key))
    assert (code, out.partition(" ")[0]) == (0, "homes:3:")
    assert command("verify", "homes:3")[0] == 0
    flip_a_bit(root / "homes/3/golden.json")
    code, _, error = command("sign", "homes:3", "--key", str(private_key))
    assert code == 1
    assert "its file golden.json was altered" in error, "altered files are not signed"
    assert "is not a private key" in command("sign", "homes:3", "--key", str(root / "homes/3/card.md"))[2]


def test_invalid_keys_stop_the_start(root: Path, public_key: Path) -> None:
    read = Settings.from_environment({"TABSERVE_TRUSTED_KEYS": f"{public_key},{public_key}"})
    assert read.trusted_keys == (public_key, public_key)
    for text in (str(root / "none"), str(root / "homes/3/card.md"), str(root / "homes/3"), ","):
        with pytest.raises(SettingsError, match="TABSERVE_TRUSTED_KEYS"):
            Settings.from_environment({"TABSERVE_TRUSTED_KEYS": text})
    (root / "empty").mkdir()
    with pytest.raises(SettingsError, match="has no public key"):
        Settings.from_environment({"TABSERVE_TRUSTED_KEYS": str(root / "empty")})


def test_the_promoted_version_is_checked_in_the_child_process(root: Path, command: Command) -> None:
    assert command("promote", "homes:1", "--wait", "0")[0] == 0
    champion = json.loads((root / "serving.json").read_text())["models"]["homes"]["champion"]
    assert champion == 1
