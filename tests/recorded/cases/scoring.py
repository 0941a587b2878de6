"""Requests to `/invocations` and related routes: MLflow, SageMaker and Vertex AI."""

from tests.recorded.case import Case, CaseBuilder, encode_body
from tests.recorded.cases import samples
from tests.recorded.cases.forms import CSV, csv_of
from tests.recorded.cases.samples import HOME, INCOME, NUMBERS, ONE, Row, changed, values_by_column, without_columns

AT = "/invocations"


def cases() -> list[Case]:
    builder = CaseBuilder("invocations", "small")
    format_cases(builder)
    invalid_body_cases(builder)
    csv_body_cases(builder)
    csv_response_cases(builder)
    model_selection_cases(builder)
    probe_cases(CaseBuilder("probe", made=builder.made))
    transport_cases(builder)
    return builder.made


def pandas_split(rows: list[Row], index: bool = False) -> dict[str, object]:
    found: dict[str, object] = {"columns": [*rows[0]], "data": [[*row.values()] for row in rows]}
    return {**found, "index": [*range(len(rows))]} if index else found


def format_cases(builder: CaseBuilder) -> None:
    rows = samples.home_rows(6)
    for name, body in {
        "records": {"dataframe_records": rows},
        "split": {"dataframe_split": pandas_split(rows)},
        "split-index": {"dataframe_split": pandas_split(rows, index=True)},
        "instances": {"instances": rows},
        "instances-arrays": {"instances": [[*row.values()] for row in rows]},
        "inputs": {"inputs": values_by_column(rows)},
        "inputs-matrix": {"inputs": [[*row.values()] for row in rows]},
        "params": {"dataframe_records": rows, "params": {"other": 1}},
        "params-warnings": {
            "dataframe_records": [HOME, changed(HOME, zone=1, street="new")],
            "params": {"warnings": True},
        },
        "params-warnings-text": {"dataframe_records": rows[:2], "params": {"warnings": "true"}},
        "parameters-warnings": {"instances": [changed(HOME, street="new")], "parameters": {"warnings": True}},
        "params-list": {"instances": rows[:1], "params": [1]},
        "warned": {"dataframe_records": [HOME, changed(HOME, street="große Straße", **{"class": 50})]},
        "warned-too-often": {"dataframe_records": [changed(HOME, street="new street", **{"class": 99})] * 20},
        "lists-of-one": {"dataframe_records": [{key: [value] for key, value in HOME.items()}]},
        "nulls": {"dataframe_records": [changed(HOME, **{"class": None, "renovated": None})]},
        "ignored": {"dataframe_split": pandas_split([changed(HOME, ID=1, price=2)])},
    }.items():
        builder.post(name, AT, body, model="homes")
    builder.post("nan", AT, encode_body({"dataframe_records": [HOME]}).replace(b" 1.5", b" NaN"), model="homes")


def invalid_body_cases(builder: CaseBuilder) -> None:
    wrong = [HOME, changed(HOME, zone=4), without_columns(HOME, "street"), changed(HOME, other=1)]
    for name, body in {
        "invalid": {"dataframe_records": wrong},
        "invalid-split": {"dataframe_split": pandas_split(wrong[:2])},
        "ragged-split": {"dataframe_split": {"columns": ["a", "b"], "data": [[1], [1, 2], 3]}},
        "split-no-columns": {"dataframe_split": {"data": [[1]]}},
        "split-no-data": {"dataframe_split": {"columns": ["a"]}},
        "split-array": {"dataframe_split": [1]},
        "split-names": {"dataframe_split": {"columns": ["a", 1], "data": [[1, 2]]}},
        "split-twice": {"dataframe_split": {"columns": ["a", "a"], "data": [[1, 2]]}},
        "no-format": {"rows": [HOME]},
        "two-formats": {"instances": [HOME], "inputs": [HOME]},
        "empty": {"dataframe_records": []},
        "array": [HOME],
        "broken": b'{"instances": [',
        "nothing": b"",
        "limit-rows": {"dataframe_records": samples.home_rows(21)},
        "limit-split": {"dataframe_split": pandas_split(samples.home_rows(21))},
        "limit-body": {"dataframe_records": [changed(HOME, ID="x" * 9000)]},
    }.items():
        builder.post(f"fault-{name}", AT, body, model="homes")


def csv_body_cases(builder: CaseBuilder) -> None:
    rows = samples.home_rows(6)
    body = csv_of(rows)
    for name, content in {
        "csv": body,
        "csv-no-header": csv_of(rows, header=False),
        "csv-semicolon": csv_of(rows, ";"),
        "csv-byte-order-mark": b"\xef\xbb\xbf" + body,
        "csv-warned": csv_of([HOME, changed(HOME, street="new street")]),
        "csv-invalid": csv_of([HOME, changed(HOME, zone=9)]),
        "csv-ragged": body + b"1,2\n",
        "csv-empty": b"",
        "csv-header-only": body.partition(b"\n")[0] + b"\n",
        "csv-not-utf8": body + b"\xff\n",
        "csv-open-quote": b'"' + body,
        "csv-limit-rows": csv_of(samples.home_rows(21)),
    }.items():
        builder.post(name, AT, content, kind=CSV, model="homes")
    builder.post("csv-header-absent", AT, csv_of(rows, header=False), kind="text/csv; header=absent", model="homes")
    builder.post("csv-header-absent-wrong", AT, body, kind="text/csv; header=absent", model="homes")
    builder.post("csv-header-present", AT, body, kind='text/csv; charset="utf-8"; header=present', model="homes")
    builder.post(
        "csv-header-present-wrong", AT, csv_of(rows, header=False), kind="text/csv; header=present", model="homes"
    )


def csv_response_cases(builder: CaseBuilder) -> None:
    body = csv_of(samples.home_rows(4))
    for name, accept in {
        "csv": CSV,
        "json-first": f"application/json, {CSV};q=0.5",
        "csv-first": f"application/json;q=0.2, {CSV}",
        "equal": f"application/json, {CSV}",
        "any": "*/*",
        "text": "text/*",
        "html": "text/html",
    }.items():
        builder.post(f"accept-{name}", AT, body, kind=CSV, accept=accept, model="homes")
    builder.post("accept-csv-of-json", AT, {"instances": samples.home_rows(4)}, accept=CSV, model="homes")
    detailed = {"instances": [HOME], "params": {"warnings": True}}
    builder.post("accept-csv-of-warnings", AT, detailed, accept=CSV, model="homes")
    for model in ("income", "stars", "sizes", "flags"):
        named = f"model={model}"
        rows = [ONE[model]] * 2
        builder.post(
            f"csv-{model}",
            AT,
            csv_of(rows),
            kind=CSV,
            server="all",
            accept=CSV,
            x_amzn_sagemaker_custom_attributes=named,
        )


def model_selection_cases(builder: CaseBuilder) -> None:
    """Requests that select one of several served models."""
    body = {"instances": [NUMBERS]}
    builder.post("no-model", AT, body, server="all", counted=False)
    for name, attributes in {
        "model": "model=numbers",
        "model-among-others": "a=1; model=numbers,b=2",
        "model-unknown": "model=number",
        "model-empty": "model=",
        "attributes-other": "trace=1",
    }.items():
        for server in ("all", "batching"):
            builder.post(
                f"choose-{name}-{server}",
                AT,
                body,
                server=server,
                model="numbers",
                counted="numbers" in attributes or (server == "batching" and "number" not in attributes),
                x_amzn_sagemaker_custom_attributes=attributes,
            )
    builder.post("default-model", AT, body, server="batching", model="numbers")
    for model, row in ONE.items():
        rows = {"dataframe_records": [row]}
        builder.post(
            f"one-row-{model}", AT, rows, server="all", model=model, x_amzn_sagemaker_custom_attributes=f"model={model}"
        )
    warned = {"instances": [changed(INCOME, job="new", age=99)] * 9}
    builder.post("attributes-warned", AT, warned, server="all", x_amzn_sagemaker_custom_attributes="model=income")
    builder.post(
        "attributes-small", AT, {"instances": [HOME]}, model="homes", x_amzn_sagemaker_custom_attributes="model=other"
    )
    builder.post(
        "vertex",
        "/vertex/predict",
        body,
        server="all",
        model="numbers",
        x_amzn_sagemaker_custom_attributes="model=numbers",
    )
    builder.post("vertex-no-model", "/vertex/predict", body, server="all", counted=False)
    builder.post("aip", "/aip/predict", {**body, "parameters": {"warnings": True}}, server="batching", model="numbers")
    builder.post(
        "aip-warned", "/aip/predict", {"instances": [changed(NUMBERS, a=999)]}, server="batching", model="numbers"
    )
    builder.post("aip-invalid", "/aip/predict", {"instances": [{}]}, server="batching", model="numbers")
    for name, path in (("vertex", "/vertex/predict"), ("aip", "/aip/predict")):
        builder.get(f"{name}-get", path, server="all" if name == "vertex" else "batching")


def probe_cases(builder: CaseBuilder) -> None:
    for path in ("/ping", "/health", "/version", "/vertex/health", AT):
        for method in ("GET", "HEAD", "POST", "OPTIONS", "DELETE"):
            if (path, method) != (AT, "POST"):
                builder.get(f"{path[1:].replace('/', '-')}-{method.lower()}", path, method=method)
    builder.get("aip-health", "/aip/health", server="batching")
    builder.get("invocations-small-get", AT, server="small")
    builder.get("invocations-slash", f"{AT}/")
    builder.get("ping-slash", "/ping/")
    builder.get("ping-query", "/ping?x=1")


def transport_cases(builder: CaseBuilder) -> None:
    body = encode_body({"instances": samples.home_rows(3)})
    for name, kind in {
        "none": None,
        "charset": "application/json; charset=utf-8",
        "charset-ascii": "application/json; charset=us-ascii",
        "charset-latin": "application/json; charset=latin1",
        "format": "application/json; format=pandas-split",
        "form": "application/x-www-form-urlencoded",
        "jsonlines": "application/jsonlines",
        "csv-charset-ascii": "text/csv; charset=us-ascii",
    }.items():
        builder.post(f"kind-{name}", AT, body, kind=kind, model="homes")
    builder.post("gzip", AT, samples.gzip_compressed(body), content_encoding="gzip", model="homes")
    builder.post(
        "zstd-csv",
        AT,
        samples.zstd_compressed(csv_of(samples.home_rows(2))),
        kind=CSV,
        content_encoding="zstd",
        model="homes",
    )
    builder.post("deflate", AT, body, content_encoding="deflate", model="homes")
    builder.post("chunked", AT, body, chunk=99, model="homes")
    builder.post("timeout-passed", AT, body, x_request_timeout="0.0000001", model="homes")
    builder.post("timeout-bad", AT, body, x_request_timeout="-2", model="homes")
    builder.post("id-none", AT, body, x_request_id="", model="homes")
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"
    builder.post("traceparent", AT, body, traceparent=trace, model="homes")
