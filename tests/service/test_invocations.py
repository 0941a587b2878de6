"""The route `/invocations` with the protocols of MLflow, SageMaker and Vertex AI, and `requests` and `curl`
as clients.
"""

import asyncio
import csv
import io
import json
import math
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import requests

from models import store
from models.tabular_model import TabularModel
from service import model_selection
from service.http.asgi import Application
from service.model_selection import SelectionError
from service.protocols import invocations
from service.server_state import ServerState
from service.settings import Settings, SettingsError
from service.version import version

Row = dict[str, Any]
SendRequest = Callable[..., Any]
JSON, CSV = {"content-type": "application/json"}, {"content-type": "text/csv"}


def selecting_attributes(model: str) -> dict[str, str]:
    return {"x-amzn-sagemaker-custom-attributes": f"trace=1; model={model}"}


@pytest.fixture(scope="module")
def vertex_server(make_server: Callable[..., Any], store_folder: Path) -> Any:
    """A server of one model, configured as in a container of Vertex AI."""
    return make_server(
        TABSERVE_STORE=str(store_folder),
        TABSERVE_MODELS="homes",
        TABSERVE_WORKERS="1",
        TABSERVE_DRAIN_S="0",
        AIP_HEALTH_ROUTE="/v1/endpoints/7/deployedModels/3",
        AIP_PREDICT_ROUTE="/v1/endpoints/7/deployedModels/3:predict",
        AIP_STORAGE_URI="gs://bucket/model",
    )


@pytest.fixture(scope="module")
def session() -> Iterator[requests.Session]:
    with requests.Session() as session:
        yield session


def error_message(reply: Any, status: int, code: str = "BAD_REQUEST") -> str:
    """Assert that a reply, of the ASGI application or of `requests`, is an error in MLflow's format. Returns the
    message.
    """
    assert (getattr(reply, "status", None) or reply.status_code) == status
    document = json.loads(reply.content)
    assert list(document) == ["error_code", "message"]
    assert document["error_code"] == code
    return str(document["message"])


# MLflow


def test_every_table_format_has_the_same_predictions(session: requests.Session, server: Any, home_row: Row) -> None:
    rows = [home_row, {**home_row, "class": math.nan}]
    frame = pd.DataFrame(rows)
    bodies = [
        {"dataframe_split": frame.to_dict(orient="split")},
        {"dataframe_records": frame.to_dict(orient="records")},
        {"instances": rows},
        {"inputs": frame.to_dict(orient="list")},
        {"inputs": [list(row.values()) for row in rows]},
    ]
    predictions = []
    for body in bodies:
        headers = {**JSON, **selecting_attributes("homes")}
        reply = session.post(
            f"{server.url}/invocations", data=json.dumps(body, default=str), headers=headers, timeout=60
        )
        assert (reply.status_code, reply.headers["content-type"]) == (200, "application/json"), reply.text
        assert {key: reply.json()[key] for key in ("model", "version")} == {"model": "homes", "version": "1"}
        predictions.append(reply.json()["predictions"])
    content = frame.to_csv(index=False).encode()
    reply = session.post(
        f"{server.url}/invocations", data=content, headers={**CSV, **selecting_attributes("homes")}, timeout=60
    )
    predictions.append(reply.json()["predictions"])
    assert all(isinstance(value, float) for value in predictions[0])
    assert predictions == [pytest.approx(predictions[0], rel=1e-5)] * 6


def test_a_classification_is_answered_with_label_and_probabilities(send_asgi: SendRequest) -> None:
    body = {"dataframe_records": [{"age": 30}, {"age": 5, "job": "Private"}]}
    reply = send_asgi("POST", "/invocations", body, **selecting_attributes("income"))
    native = send_asgi("POST", "/predict/income", {"rows": body["dataframe_records"]}).body
    for prediction in native["predictions"]:
        prediction.pop("warnings", None)
    assert reply.body == native
    assert json.loads(reply.headers["x-tabserve-warnings"])["warnings"][0]["row"] == 1


@pytest.mark.parametrize("key", ["params", "parameters"])
def test_warnings_are_in_the_predictions_on_request(send_asgi: SendRequest, home_row: Row, key: str) -> None:
    rows = [home_row, {**home_row, "class": 9}]
    body = {"instances": rows, key: {"warnings": True, "temperature": 0.7}}
    predictions = send_asgi("POST", "/invocations", body, **selecting_attributes("homes")).body["predictions"]
    assert predictions == send_asgi("POST", "/predict/homes", {"rows": rows}).body["predictions"]
    assert predictions[1]["warnings"][0]["code"] == "outside_seen"


REFUSED: dict[str, tuple[Any, str]] = {
    "nothing": (b"", "the body is not JSON"),
    "an array": ([1], "is not an object"),
    "no known form": ({"data": [], "rows": 1}, "exactly one of the input fields"),
    "two forms": ({"instances": [1], "inputs": [1]}, "received instances, inputs"),
    "an invalid split": ({"dataframe_split": [1]}, "'dataframe_split' is not an object with lists"),
    "a split without columns": ({"dataframe_split": {"data": [[1]]}}, "'dataframe_split' is not an object with lists"),
    "a split without data": ({"dataframe_split": {"columns": ["class"]}}, "'data' is not a list"),
    "columns that are not names": ({"dataframe_split": {"columns": [1], "data": [[1]]}}, "a name that is not a string"),
    "a column named twice": ({"dataframe_split": {"columns": ["a", "a"], "data": [[1, 2]]}}, "names 'a' twice"),
    "a row that is too long": (
        {"dataframe_split": {"columns": ["a"], "data": [[1], [1, 2]]}},
        "row 1: not a list of 1",
    ),
    "no records": ({"dataframe_records": []}, "'dataframe_records' is empty"),
    "a bad row": ({"dataframe_records": [{"class": "x"}]}, "row 0, feature 'class': 'x' is not a number"),
}


@pytest.mark.parametrize(("body", "text"), REFUSED.values(), ids=REFUSED.keys())
def test_a_body_without_a_table_is_a_bad_request(send_asgi: SendRequest, body: Any, text: str) -> None:
    assert text in error_message(send_asgi("POST", "/invocations", body, **selecting_attributes("homes")), 400)


def test_content_types_methods_and_limits_are_checked(send_asgi: SendRequest, home_row: Row) -> None:
    for kind in ("text/plain", "application/json; charset=latin-1", "text/csv; charset=utf-7"):
        text = error_message(
            send_asgi("POST", "/invocations", b"{}", content_type=kind, **selecting_attributes("homes")), 415
        )
        assert "application/json or text/csv" in text
    assert "POST" in error_message(send_asgi("GET", "/invocations"), 405)
    body = {"dataframe_records": [home_row] * 2001}
    assert "2001 rows" in error_message(send_asgi("POST", "/invocations", body, **selecting_attributes("homes")), 413)
    late = send_asgi(
        "POST", "/invocations", {"instances": [home_row]}, **selecting_attributes("homes"), x_request_timeout="1e-9"
    )
    error_message(late, 504, "DEADLINE_EXCEEDED")


def test_probes_succeed_and_the_version_is_returned(session: requests.Session, server: Any) -> None:
    for path in ("/ping", "/health"):
        reply = session.get(server.url + path, timeout=60)
        assert (reply.status_code, reply.content) == (200, b"")
    assert session.get(f"{server.url}/version", timeout=60).text == version()


def test_probes_fail_before_models_are_loaded_and_while_draining(
    make_app: Callable[..., Application], tabular_models: list[TabularModel], settings: Settings, asgi: SendRequest
) -> None:
    asgi_app = make_app(tabular_models, settings)
    asgi_app.context.state = ServerState()
    assert asyncio.run(asgi(asgi_app, "GET", "/ping")).status == 503
    asgi_app.context.state.mark_ready()
    asgi_app.context.state.begin_draining()
    error_message(asyncio.run(asgi(asgi_app, "GET", "/ping")), 503, "TEMPORARILY_UNAVAILABLE")
    asgi_app.plane.close()


# Selecting one of several models


def test_with_several_models_a_request_must_select_one(send_asgi: SendRequest, home_row: Row) -> None:
    text = error_message(send_asgi("POST", "/invocations", {"instances": [home_row]}), 400)
    assert "several models are served: homes, house_class, income" in text
    unknown = send_asgi("POST", "/invocations", {"instances": [home_row]}, **selecting_attributes("home"))
    assert "did you mean 'homes'?" in error_message(unknown, 404, "RESOURCE_DOES_NOT_EXIST")


def test_a_request_may_select_a_model_other_than_the_default(
    make_app: Callable[..., Application], tabular_models: list[TabularModel], asgi: SendRequest, home_row: Row
) -> None:
    asgi_app = make_app(tabular_models, Settings(default_model="homes", predict_route="/score"))

    async def send_request(path: str, body: Any, **headers: str) -> Any:
        reply = await asgi(asgi_app, "POST", path, json.dumps(body).encode(), "", headers)
        return reply.body["model"]

    async def send_both() -> list[str]:
        return [
            await send_request("/invocations", {"instances": [home_row]}),
            await send_request("/score", {"instances": [home_row]}),
            await send_request("/invocations", {"instances": [{"age": 3}]}, **selecting_attributes("income")),
        ]

    assert asyncio.run(send_both()) == ["homes", "homes", "income"]
    asgi_app.plane.close()


def test_a_default_that_is_not_served_stops_the_start(store_folder: Path) -> None:
    settings = Settings(store=store_folder, models=("homes",), default_model="income")
    with pytest.raises(SelectionError, match="TABSERVE_DEFAULT_MODEL='income' is not served; served models: homes"):
        model_selection.select_models(settings)


# SageMaker


def test_curl_sends_a_csv_file_and_receives_a_line_per_row(server: Any, tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    file.write_text('job,age,income\n"100 %",30,1\n,50,2\nPrivate,17,3\n', encoding="utf-8")
    command = ["curl", "-sS", f"{server.url}/invocations", "--data-binary", f"@{file}", "-H", "Content-Type: text/csv"]
    command += ["-H", "Accept: text/csv", "-H", "X-Amzn-SageMaker-Custom-Attributes: model=income", "--max-time", "20"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    lines = list(csv.reader(io.StringIO(done.stdout)))
    assert [len(line) for line in lines] == [3, 3, 3]
    assert {label for label, *_ in lines} <= {"<=50K", "100 %s"}
    assert [sum(map(float, numbers)) for _, *numbers in lines] == pytest.approx([1, 1, 1])


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("text/csv", "text/csv; charset=utf-8"),
        ("text/csv;q=0.9, application/json;q=0.1", "text/csv; charset=utf-8"),
        ("TEXT/CSV, */*;q=0.1", "text/csv; charset=utf-8"),
        ("text/csv;q=0", "application/json"),
        ("application/json, text/csv;q=0.5", "application/json"),
        ("text/csv-schema", "application/json"),
        ("text/plain", "application/json"),
    ],
)
def test_csv_is_returned_if_it_has_the_highest_quality(send_asgi: SendRequest, accept: str, kind: str) -> None:
    reply = send_asgi(
        "POST", "/invocations", b"age\n30\n", content_type="text/csv", accept=accept, **selecting_attributes("income")
    )
    assert (reply.status, reply.headers["content-type"]) == (200, kind)


def test_requests_decodes_a_non_ascii_label(session: requests.Session, unicode_label_server: Any) -> None:
    headers = {**CSV, "accept": "text/csv"}
    reply = session.post(f"{unicode_label_server.url}/invocations", data=b"age\n30\n", headers=headers, timeout=60)
    assert reply.text.partition(",")[0] in ("größer", "größte")


def test_a_csv_without_a_header_is_read_in_the_order_of_the_features(send_asgi: SendRequest) -> None:
    def send_request(body: bytes, kind: str = "text/csv") -> Any:
        return send_asgi(
            "POST", "/invocations", body, content_type=kind, accept="text/csv", **selecting_attributes("income")
        )

    right = send_request(b"age,job\n30,Private\n50,\n").content
    assert right.count(b"\n") == 2
    assert send_request(b"30,Private\n50,").content == right
    assert send_request(b"\xef\xbb\xbf30,Private\r\n50,\r\n").content == right
    assert send_request(b"30,Private\n50,\n", "text/csv; header=absent").content == right
    assert send_request(b"age,job\n30,Private\n50,\n", 'text/csv; charset="utf-8"; header=present').content == right
    assert "the table has no such column" in error_message(
        send_request(b"30,Private\n50,\n", "text/csv; header=present"), 400
    )
    assert "row 0, feature 'age': 'age' is not a number" in error_message(
        send_request(b"age,job\n", "text/csv; header=absent"), 400
    )
    assert "row 1" in error_message(send_request(b"30,Private\n50\n"), 400)
    assert error_message(send_request(b""), 400)


def test_a_header_is_recognised_by_any_column_name(tabular_model: TabularModel) -> None:
    schema = tabular_model.schema
    for first in (b"price,x", b"'Outcome Type'; class ;2", b'"Outcome Type"\ta', b"\n\nclass"):
        assert invocations.with_header(schema, first + b"\n1,2\n") == first + b"\n1,2\n"
    order = b"educational-num,Outcome Type,class,model_x,2nd,_u\n"
    for first in (b"12,Adoption,1.5,true,2013-04-01,2", b"a,b", b"\xff\xfe", b'"class', b"\x00"):
        assert invocations.with_header(schema, first + b"\n") in (order + first + b"\n", first + b"\n")
    assert invocations.with_header(schema, b"12,Adoption,1.5,true,2013-04-01,2\n").startswith(order)


@pytest.mark.parametrize("body", [b"class\r1\r", "class\r\n1\r\n".encode("utf-16"), b"x" * 200_000])
def test_a_csv_with_an_unreadable_first_line_gets_400(send_asgi: SendRequest, body: bytes) -> None:
    reply = send_asgi("POST", "/invocations", body, content_type="text/csv", **selecting_attributes("homes"))
    assert reply.status == 400
    assert reply.body["error_code"] == "BAD_REQUEST"


def test_warnings_are_also_in_sagemakers_header(send_asgi: SendRequest, home_row: Row) -> None:
    body = {"instances": [{**home_row, "class": 9}] * 50}
    header = send_asgi("POST", "/invocations", body, **selecting_attributes("homes")).headers[
        "x-amzn-sagemaker-custom-attributes"
    ]
    assert len(header) <= 1024
    assert json.loads(header)["omitted"] > 0


def test_a_model_unpacked_by_sagemaker_is_served(store_folder: Path, tmp_path: Path) -> None:
    nothing = Settings.from_environment({}, tmp_path)
    assert nothing.store is None
    assert Settings.from_environment({}, store_folder).store == store_folder
    alone = Settings.from_environment({}, store_folder / "homes" / "1")
    (model,) = model_selection.select_models(alone, pinned=("income:1",))
    assert model.tag == "homes:1"
    other = {"TABSERVE_STORE": str(tmp_path)}
    assert Settings.from_environment(other, store_folder).store == tmp_path


def test_an_unpacked_export_keeps_its_version(store_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "features.json").write_bytes((store_folder / "homes" / "1" / "features.json").read_bytes())
    (tmp_path / "model.yaml").write_text("name: homes\nversion: '12'\nmodule: ''\n", encoding="utf-8")
    assert [stored.tag for stored in store.versions(tmp_path)[0]["homes"]] == ["homes:12"]


# Vertex AI


def test_the_addresses_of_vertex_ai_are_served(session: requests.Session, vertex_server: Any, home_row: Row) -> None:
    base = f"{vertex_server.url}/v1/endpoints/7/deployedModels/3"
    assert session.get(base, timeout=60).status_code == 200
    body = {"instances": [home_row, home_row], "parameters": None}
    reply = session.post(f"{base}:predict", json=body, timeout=60)
    assert reply.status_code == 200
    assert (
        reply.json()["predictions"]
        == session.post(
            f"{vertex_server.url}/v1/models/homes:predict", json={"instances": [home_row] * 2}, timeout=60
        ).json()["predictions"]
    )
    assert "instances" in error_message(session.post(f"{base}:predict", json={}, timeout=60), 400)
    counted = session.get(f"{vertex_server.url}/metrics", timeout=60).text
    assert 'tabserve_requests_total{model="homes",protocol="vertex",status="200",version="1"} 1' in counted


def test_a_single_served_model_needs_no_name(session: requests.Session, vertex_server: Any, home_row: Row) -> None:
    reply = session.post(f"{vertex_server.url}/invocations", json={"dataframe_records": [home_row]}, timeout=60)
    assert reply.json()["model"] == "homes"


def test_the_addresses_of_vertex_ai_are_read_from_its_variables() -> None:
    environment = {
        "AIP_HEALTH_ROUTE": "/h",
        "AIP_PREDICT_ROUTE": "/p",
        "TABSERVE_PREDICT_ROUTE": "/q",
        "AIP_HTTP_PORT": "1",
    }
    settings = Settings.from_environment(environment)
    assert (settings.health_route, settings.predict_route) == ("/h", "/q")
    for name, value in (("HEALTH_ROUTE", "health"), ("PREDICT_ROUTE", "/predict/homes"), ("PREDICT_ROUTE", "/a?b")):
        with pytest.raises(SettingsError, match=f"TABSERVE_{name}"):
            Settings.from_environment({f"TABSERVE_{name}": value})


def test_a_configured_route_cannot_replace_a_page_of_the_server() -> None:
    for name, value in (
        ("HEALTH_ROUTE", "/metrics"),
        ("HEALTH_ROUTE", "/models"),
        ("PREDICT_ROUTE", "/docs.json"),
        ("PREDICT_ROUTE", "/readyz"),
    ):
        with pytest.raises(SettingsError, match=f"TABSERVE_{name}='{value}': this path is a p"):
            Settings.from_environment({f"TABSERVE_{name}": value})
    assert Settings.from_environment({"AIP_HEALTH_ROUTE": "/readyz"}).health_route == "/readyz"
