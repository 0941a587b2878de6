"""The routes that change served versions: formats, conditions, errors, and access."""

import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from models.serving_file import ServingFile
from service import version_admin
from service.access.caller import EVERYBODY
from service.access_control import AccessControl, is_loopback
from service.errors import Forbidden, NotReady
from service.http.asgi import Application
from service.settings import Settings
from service.version_admin import VersionAdmin, incompatibility
from tests.service.conftest import Reply, schemas
from tests.service.test_follower import Worker, damage, folder, versions_folder

__all__ = ["folder", "versions_folder"]
LOCAL = {"host": "127.0.0.1:3000", "content-type": "application/json"}


class Admin:
    """A client on the same machine that sends requests to a worker."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.worker = Worker(Settings(store=folder, **settings))
        self.application: Application = self.worker.application
        self.application.context.state.mark_ready()
        self.application.context.admin = VersionAdmin(self.worker.follower)

    def __call__(self, method: str, path: str, body: Any = None, client: str = "127.0.0.1", **headers: str) -> Reply:
        content = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        fields = LOCAL | {name.replace("_", "-"): value for name, value in headers.items()}
        return self.worker.runner.run(call(self.application, method, path, content, client, fields))

    @property
    def aliases(self) -> dict[str, str]:
        return self.worker.aliases


async def call(app: Application, method: str, path: str, body: bytes, client: str, headers: dict[str, str]) -> Reply:
    started: dict[str, Any] = {}
    content: list[bytes] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        started.update(message)
        content.append(message.get("body", b""))

    fields = [(name.encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": "http", "method": method, "path": path, "query_string": b"", "headers": fields}
    await app({**scope, "client": (client, 50000)}, receive, send)
    response_headers = {key.decode(): value.decode() for key, value in started["headers"]}
    return Reply(started["status"], response_headers, b"".join(content))


@pytest.fixture
def admin(folder: Path) -> Iterator[Admin]:
    made = Admin(folder)
    yield made
    made.worker.close()


def test_versions_are_promoted_named_and_rolled_back(admin: Admin, folder: Path) -> None:
    reply = admin("POST", "/models/homes/promote", {"version": 2})
    assert reply.status == 200, reply.content
    assert reply.headers["etag"] == '"1"'
    assert reply.body["generation"] == 1
    assert admin.aliases == {"champion": "2"}
    assert admin("PUT", "/models/homes/aliases/challenger", {"version": "3"}).status == 200
    assert admin("PUT", "/models/homes/traffic", {"champion": 95, "challenger": 5}).status == 200
    assert admin("PUT", "/models/homes/shadow", {"share": 0.1}).status == 200
    assert admin.aliases == {"champion": "2", "challenger": "3"}
    state = ServingFile(folder).read().model("homes")
    assert state.traffic
    assert state.shadow
    assert (state.traffic.shares, state.shadow.share) == ({"champion": 95, "challenger": 5}, 0.1)
    assert admin("PUT", "/models/homes/shadow", {}).status == 422
    assert admin("PUT", "/models/homes/shadow", b"null").status == 200
    assert ServingFile(folder).read().model("homes").shadow is None
    assert admin("PUT", "/models/homes/aliases/champion", {"version": 3}).status == 200
    assert admin.aliases == {"champion": "3", "challenger": "3"}
    assert admin("POST", "/models/homes/rollback").status == 200
    assert admin.aliases["champion"] == "2"
    assert admin("DELETE", "/models/homes/aliases/challenger").status == 200
    assert admin.aliases == {"champion": "2"}
    entries = admin("GET", "/audit").body["audit"]
    assert [entry["action"] for entry in entries][:3] == ["promote", "alias", "traffic"]
    assert entries[0]["actor"] == "admin 127.0.0.1"


def test_repeating_a_change_changes_nothing(admin: Admin) -> None:
    assert admin("POST", "/models/homes/promote", {"version": 2}).body["generation"] == 1
    assert admin("POST", "/models/homes/promote", {"version": 2}).body["generation"] == 1
    assert admin("POST", "/models/homes/rollback").body["generation"] == 2
    assert admin("POST", "/models/homes/rollback").body["generation"] == 2


def test_a_change_with_an_outdated_generation_is_refused(admin: Admin) -> None:
    assert admin("POST", "/models/homes/promote", {"version": 2}, if_match='"0"').status == 200
    reply = admin("POST", "/models/homes/promote", {"version": 3}, if_match='"0"')
    assert reply.status == 412
    assert "the generation is 1, not 0" in reply.body["detail"]
    assert admin.aliases == {"champion": "2"}
    assert admin("POST", "/models/homes/promote", {"version": 3}, if_match='"1"').status == 200
    assert admin("POST", "/models/homes/promote", {"version": 1}, if_match="x").status == 422


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "message"),
    [
        ("POST", "/models/none/promote", {"version": 1}, 404, "there is no model 'none'"),
        ("POST", "/models/homes/promote", {"version": 9}, 404, "there is no homes:9"),
        ("POST", "/models/homes/promote", {}, 422, "version"),
        ("POST", "/models/homes/promote", {"version": 0}, 422, "version"),
        ("POST", "/models/homes/promote", {"version": True}, 422, "version"),
        ("POST", "/models/homes/promote", {"versoin": 1}, 422, "did you mean 'version'"),
        ("POST", "/models/homes/promote", [], 422, "not a JSON object"),
        ("POST", "/models/homes/promote", b'{"version": 2, "version": 3}', 422, "'version' occurs more than once"),
        ("PUT", "/models/homes/traffic", b'{"champion": 90, "champion": 100}', 422, "'champion' occurs more than once"),
        ("POST", "/models/homes/promote", b"{", 400, "the body is not JSON: "),
        ("POST", "/models/homes/rollback", None, 409, "there is no previous champion"),
        ("PUT", "/models/homes/aliases/Upper", {"version": 1}, 422, "not a name for an alias"),
        ("DELETE", "/models/homes/aliases/champion", None, 409, "cannot be deleted"),
        ("PUT", "/models/homes/traffic", {"champion": 90}, 422, "add up to 90"),
        ("PUT", "/models/homes/traffic", {"champion": 90, "other": 10}, 409, "no alias 'other'"),
        ("PUT", "/models/homes/shadow", {"share": 2}, 422, "share"),
        ("GET", "/models/homes/promote", None, 405, "POST"),
    ],
)
def test_impossible_changes_are_refused_with_a_reason(
    admin: Admin, folder: Path, method: str, path: str, body: Any, status: int, message: str
) -> None:
    reply = admin(method, path, body)
    assert reply.status == status, reply.content
    assert message in reply.body["detail"]
    assert not (folder / "serving.json").exists()


def test_promoting_a_version_that_cannot_be_loaded_writes_nothing(admin: Admin, folder: Path) -> None:
    damage(folder, 2)
    reply = admin("POST", "/models/homes/promote", {"version": 2})
    assert reply.status == 409
    assert reply.codes == ["not_loadable"]
    assert f"worker {os.getpid()}: homes:2" in reply.body["detail"]
    assert not (folder / "serving.json").exists()
    assert admin.aliases == {"champion": "4"}
    assert admin("POST", "/models/homes/promote", {"version": 1}).status == 200


def test_a_version_that_would_refuse_valid_requests_is_not_promoted(admin: Admin, folder: Path) -> None:
    features = folder / "homes/2/features.json"
    (folder / "homes/2/manifest.json").unlink()
    content = json.loads(features.read_text())
    content["target"] = "cost"
    features.write_text(json.dumps(content))
    reply = admin("POST", "/models/homes/promote", {"version": 2})
    assert (reply.status, reply.codes) == (409, ["schema"])
    assert "refuses columns that clients send: price" in reply.body["detail"]
    assert admin("PUT", "/models/homes/aliases/other", {"version": 2}).status == 200


def test_schemas_are_compared_by_the_accepted_rows() -> None:
    old = schemas()[1]
    age, job = old.features
    assert incompatibility(old, old) is None
    assert "age" in (incompatibility(old, old.model_copy(update={"features": [job]})) or "")
    strict = old.model_copy(update={"features": [age, job.model_copy(update={"nullable": False})]})
    assert "requires columns that clients may leave out: job" in (incompatibility(old, strict) or "")
    assert incompatibility(strict, old) is None


def test_a_change_waits_for_another_change_for_a_limited_time(
    admin: Admin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A change waits for another change by the same worker or by another worker."""
    monkeypatch.setattr(version_admin, "PREPARE_S", 0.0)
    admin.worker.follower.files.folder = tmp_path
    changes = admin.application.context.admin
    assert changes

    async def scenario() -> None:
        async with changes._exclusive():
            with pytest.raises(NotReady, match="another change is being made"):
                async with changes._exclusive():
                    raise AssertionError("two changes at the same time")

    admin.worker.runner.run(scenario())
    assert admin("POST", "/models/homes/promote", {"version": 2}).status == 200


def test_a_pinned_model_and_a_read_only_store_are_conflicts(folder: Path) -> None:
    pinned = Admin(folder, models=("homes:3",))
    reply = pinned("POST", "/models/homes/promote", {"version": 2})
    assert (reply.status, reply.codes) == (409, ["pinned"])
    pinned.worker.close()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_change_in_a_read_only_store_is_a_conflict(admin: Admin, folder: Path) -> None:
    folder.chmod(stat.S_IRUSR | stat.S_IXUSR)
    try:
        reply = admin("POST", "/models/homes/promote", {"version": 2})
    finally:
        folder.chmod(0o755)
    assert (reply.status, reply.codes) == (409, ["read_only_store"])


def test_a_store_that_becomes_read_only_is_a_conflict(
    admin: Admin, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.access", lambda path, mode: False)
    reply = admin("POST", "/models/homes/promote", {"version": 2})
    assert (reply.status, reply.codes) == (409, ["read_only_store"])
    assert admin.aliases == {"champion": "4"}


def test_models_are_unloaded_and_loaded_as_in_triton(admin: Admin) -> None:
    index = "/v2/repository/index"
    assert [(one["version"], one["state"]) for one in admin("POST", index, {}).body] == [
        ("1", "UNAVAILABLE"),
        ("2", "UNAVAILABLE"),
        ("3", "UNAVAILABLE"),
        ("4", "READY"),
    ]
    assert admin("POST", "/v2/repository/models/homes/unload", {}).status == 200
    assert admin("POST", "/predict/homes", {"rows": []}).status == 404
    assert admin("POST", index, {"ready": True}).body == []
    assert admin("POST", "/v2/repository/models/homes/load", {}).status == 200
    assert admin.aliases == {"champion": "4"}
    assert "no model 'none'" in admin("POST", "/v2/repository/models/none/load", {}).body["error"]


@pytest.mark.parametrize(
    ("client", "headers", "reason"),
    [
        ("192.0.2.1", {}, "same machine"),
        ("127.0.0.1", {"host": "example.com"}, "Host"),
        ("127.0.0.1", {"host": "127.0.0.1.example.com"}, "Host"),
        ("127.0.0.1", {"x-forwarded-for": "192.0.2.1"}, "proxy"),
        ("127.0.0.1", {"x-forwarded-port": "80"}, "proxy"),
        ("127.0.0.1", {"forwarded": "for=192.0.2.1"}, "proxy"),
        ("127.0.0.1", {"via": "1.1 proxy"}, "proxy"),
        ("127.0.0.1", {"origin": "http://example.com"}, "origin"),
        ("127.0.0.1", {"origin": "null"}, "origin"),
        ("127.0.0.1", {"content-type": "text/plain"}, "application/json"),
        ("127.0.0.1", {"content-type": ""}, "application/json"),
    ],
)
def test_changes_from_other_machines_and_origins_are_forbidden(
    admin: Admin, client: str, headers: dict[str, str], reason: str
) -> None:
    for method, path in (
        ("POST", "/models/homes/promote"),
        ("POST", "/v2/repository/models/homes/unload"),
        ("GET", "/audit"),
    ):
        reply = admin(method, path, {"version": 2}, client, **headers)
        assert reply.status == 403, (path, reply.content)
        assert reason in reply.content.decode()
    assert admin.aliases == {"champion": "4"}


@pytest.mark.parametrize("host", ["127.0.0.1:3000", "localhost", "localhost:80", "[::1]:3000", "LOCALHOST"])
def test_changes_from_the_same_machine_are_allowed(admin: Admin, host: str) -> None:
    assert admin("GET", "/audit", host=host, origin=f"http://{host}").status == 200
    assert admin("GET", "/audit", client="::1", host=host).status == 200
    assert admin("GET", "/audit", client="::ffff:127.0.0.1", host=host).status == 200


def test_changes_can_be_disabled(admin: Admin) -> None:
    admin.application.context.access = AccessControl("off")
    assert "TABSERVE_ADMIN" in admin("POST", "/models/homes/promote", {"version": 2}).body["detail"]
    assert admin("GET", "/models/homes/versions").status == 200


@pytest.mark.parametrize("host", ["", "example.com", "10.0.0.1", "127.0.0.1.nip.io", "0.0.0.0", "::"])
def test_other_addresses_are_not_loopback(host: str) -> None:
    assert not is_loopback(host)


def test_a_request_without_a_client_is_forbidden() -> None:
    class UnknownClient:
        method, path, request_id, protocol, client = "POST", "/", b"", "admin", ""
        headers: ClassVar[dict[bytes, bytes]] = {}
        caller, served, failed = EVERYBODY, None, None

        def check_model(self, model: str, *, served: bool = True) -> None:
            raise AssertionError("the request names no model")

    with pytest.raises(Forbidden):
        AccessControl().check_admin(UnknownClient())


def test_the_version_list_contains_previous_champion_canary_and_shadow(admin: Admin) -> None:
    listed = admin("GET", "/models/homes/versions").body
    assert listed.keys() == {"model", "generation", "versions"}
    admin("POST", "/models/homes/promote", {"version": 1})
    admin("POST", "/models/homes/promote", {"version": 2})
    admin("PUT", "/models/homes/aliases/challenger", {"version": 3})
    admin("PUT", "/models/homes/traffic", {"champion": 95, "challenger": 5, "rollback": {"after_rows": 300}})
    found = admin("PUT", "/models/homes/shadow", {"share": 0.1}).body
    assert (found["previous"], found["rollback"]) == ("1", {"after_rows": 300})
    assert found["shadow"] == {"alias": "challenger", "share": 0.1}
    assert "previous" not in admin("POST", "/models/homes/rollback").body  # another rollback must not change anything


def test_the_card_of_a_stored_version_is_returned(admin: Admin, folder: Path) -> None:
    reply = admin("GET", "/models/homes/versions/3/card")
    assert (reply.status, reply.headers["content-type"]) == (200, "text/markdown; charset=utf-8")
    assert reply.content == (folder / "homes/3/card.md").read_bytes()
    assert admin("GET", "/models/homes/versions/0003/card").status == 200
    for path in ("homes/versions/9/card", "none/versions/1/card", "homes/versions/0/card", "homes/versions/x/card"):
        assert admin("GET", f"/models/{path}").status == 404
    assert admin("POST", "/models/homes/versions/3/card").status == 405
    (folder / "homes/3/card.md").unlink()
    assert admin("GET", "/models/homes/versions/3/card").status == 404
