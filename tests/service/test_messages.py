"""The document says what is true, and BentoML's client works by the types made from the schema."""

import json
from typing import Any

import bentoml
import httpx
import pytest
from bentoml.exceptions import BentoMLException

from models.feature import Feature, Seen
from models.schema import FeatureSchema
from models.tabular_model import TabularModel
from service.http import openapi
from service.http.negotiation import FORMATS
from service.settings import Settings

ROUTES = {"/models", "/models/{name}", "/livez", "/readyz", "/metrics", "/schema.json"}


@pytest.fixture
def document(tabular_models: list[TabularModel], settings: Settings) -> Any:
    return json.loads(openapi.document(tabular_models, settings, "1.0"))


def resolve(document: Any, schema: Any) -> Any:
    while "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return schema


def test_every_route_is_described_and_every_reference_leads_somewhere(document: Any) -> None:
    assert document["openapi"] == "3.1.0"
    assert set(document["paths"]) == {"/predict/homes", "/predict/house_class", "/predict/income", *ROUTES}

    def walk(value: Any) -> None:
        if isinstance(value, dict):
            if "$ref" in value:
                assert resolve(document, value)
            for inner in value.values():
                walk(inner)
        elif isinstance(value, list):
            for inner in value:
                walk(inner)

    walk(document)


def test_errors_are_problem_documents(document: Any) -> None:
    responses = document["paths"]["/predict/homes"]["post"]["responses"]
    assert set(responses) == {"200", "400", "404", "406", "408", "413", "415", "422", "429", "500", "503", "504"}
    for status, response in responses.items():
        kinds = (
            [kind for form in FORMATS for kind in form.media_types[:1]]
            if status == "200"
            else [b"application/problem+json"]
        )
        assert list(response["content"]) == [kind.decode() for kind in kinds]


def test_only_declared_limits_are_rules(document: Any) -> None:
    columns = document["components"]["schemas"]["Homes" + "Row"]["properties"]
    assert columns["educational-num"]["minimum"] == 0
    assert columns["educational-num"]["maximum"] == 120
    assert columns["educational-num"]["type"] == "number"
    assert columns["class"]["type"] == ["number", "null"]
    assert "minimum" not in columns["class"]
    assert columns["Outcome Type"]["x-levels"] == ["Adoption", "Transfer", ""]
    assert all("enum" not in column and column["title"] == name for name, column in columns.items())
    assert "Accepted and ignored" in columns["id"]["description"]


def test_the_example_of_each_model_works(server: Any) -> None:
    document = httpx.get(f"{server.url}/docs.json").json()
    for path, item in document["paths"].items():
        if path.startswith("/predict/"):
            content = item["post"]["requestBody"]["content"]["application/json"]
            reply = httpx.post(server.url + path, json=content["example"])
            assert reply.status_code == 200, reply.text
            right = item["post"]["responses"]["200"]["content"]["application/json"]["example"]
            assert set(reply.json()) == set(right)
            row = resolve(document, content["schema"]["properties"]["rows"]["items"])
            assert set(content["example"]["rows"][0]) <= set(row["properties"])


def test_type_names_do_not_fall_together() -> None:
    names = ["ab", "a_b", "a__b", "a_b_", "house_class", "houseclass"]
    assert len({openapi.type_name(name) for name in names}) == len(names)


def test_a_model_without_golden_rows_is_described_by_its_examples(tabular_model: TabularModel) -> None:
    import dataclasses

    from models.tabular_model import Golden

    feature = Feature(name="a", kind="number", nullable=False, seen=Seen(), example=2)
    schema = FeatureSchema(name="m", task="regression", target="y", features=[feature])
    bare = dataclasses.replace(tabular_model, schema=schema, golden=Golden([], []))
    assert openapi.example_rows(bare) == [{"a": 2}]
    assert b'"/predict/m"' in openapi.document([bare], Settings(), "1")


@pytest.mark.parametrize("which", ["server"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # BentoML's own client
def test_bentoml_s_client_predicts_and_is_told_what_is_wrong(
    request: pytest.FixtureRequest, which: str, home_row: dict[str, Any]
) -> None:
    with bentoml.SyncHTTPClient(request.getfixturevalue(which).url) as client:
        answer = client.predict_homes(rows=[home_row, {**home_row, "class": 7.5}])
        assert len(answer["predictions"]) == 2
        assert answer["predictions"][1]["warnings"][0]["code"] == "outside_seen"
        assert client.predict_income(rows=[{"age": 30}])["predictions"][0]["probabilities"]
        with pytest.raises(BentoMLException, match="unknown_field"):
            client.predict_homes(rows=[{**home_row, "Class": 1}])
        client._temp_dir.cleanup()  # which BentoML leaves to the garbage collector
