"""Imports have one direction: training, service, scoring and loadtest import models. Modules import no higher layer of
their package, there are no import cycles, and heavy libraries are imported only where they are needed.

This file has more than 400 lines: the layers of all modules are one table.
"""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
OURS = ("models", "training", "service", "scoring", "loadtest", "tabserve")
MAY_IMPORT = {"models": {"models"}, "training": {"training", "models"}, "service": {"service", "models"}}
MAY_IMPORT["loadtest"] = {"loadtest", "models"}
MAY_IMPORT["scoring"] = {"scoring", "models"}
MAY_IMPORT["tabserve"] = {"tabserve", "models", "service"}  # the packages of its commands are imported by name
TRAINING_LIBRARIES = {"pandas", "sklearn", "matplotlib", "pyarrow", "scipy"}
KERAS_LIBRARIES = {"keras", "tensorflow"}
UNNEEDED_IN_WORKER = (
    TRAINING_LIBRARIES
    | KERAS_LIBRARIES
    | {"grpc", "numpy.random", "numpy.ma", "models.network.losses", "models.network.optimizers"}
    | {"models.drift.reference", "models.drift.counter", "models.drift.drift_report"}
    | {"models.uncertainty", "models.explanation.explainer", "models.explanation.background"}  # for some versions
    | {"service.openapi.document"}
    | {"sqlite3", "service.capture.capture", "service.capture.recorder", "service.feedback.feedback_desk"}
)
SUPERVISOR_MODULES = "service.typed_endpoints, service.follower, service.version_admin, service.server.supervisor"
UNNEEDED_IN_SUPERVISOR = {"service.http.asgi", "service.routes.router", "models.formats.csv_decoder"}
UNNEEDED_IN_LAUNCHER = {"numpy", "pydantic", "bentoml", "uvicorn"}  # they take 26 MB and 0.2 s at the start of a server
GRPC_LIBRARIES = {"grpc", "grpc_health", "google"}
GRPC_MODULES = {f"service/grpc_{name}.py" for name in ("health_calls", "messages", "server", "tls")}
GRPC_MODULES |= {"service/protocols/oip_messages.py"}
SERVICE_BENCHMARKS = {
    "loadtest/bench/capture_cost.py",
    "loadtest/bench/fast_service_cases.py",
    "loadtest/bench/start_decision.py",
}  # these benchmarks measure parts that no request can measure separately
ARROW_FORMATS = (
    "models/fast/arrow_",
    "models/formats/arrow_",
    "models/formats/parquet_",
    "models/formats/record_batches.py",
    "service/capture/",
)
ROW_MODULES = {"models.date_parsing", "models.feature", "models.schema", "models.text_tables"}
KERAS_MODULES = {
    "models/keras_nets.py",
    "models/keras_export.py",
    "training/importing/numpy_graph.py",
    "training/importing/rebuild.py",
}
KERAS_BENCHMARKS = {"loadtest/bench/keras_app.py"}  # a separate server, which the benchmark compares with ours

LAYERS: dict[str, list[set[str]]] = {
    "models": [
        {
            "models.text",
            "models.aliases",
            "models.text_tables",
            "models.normal_form",
            "models.visible_text",
            "models.html_page",
            "models.validation_problem",
            "models.repeated_names",
            "models.architecture",
            "models.library_hook",
            "models.equivalent_characters",
            "models.number_words",
            "models.audit",
            "models.atomic_file",
            "models.freed_memory",
            "models.capture_format",
            "models.file_lock",
            "models.command_line",
            "models.signals",
            "models.version_folder",
            "models.archives",
        },
        {"models.date_words", "models.cell_format", "models.text_score"},
        {"models.date_parsing"},
        {"models.keras_archive", "models.card_page"},
        {"models.manifest", "models.signature"},
        {"models.trusted_keys"},
        {"models.checked_folder"},
        {"models.file_destination", "models.server_registration"},
        {"models.feature"},
        {"models.frame", "models.validators"},
        {"models.number_rows"},
        {"models.ranges", "models.columns"},
        {"models.original_rows"},
        {"models.cell_parsing"},
        {"models.schema"},
        {"models.stored_document", "models.serving_state"},
        {"models.object_store", "models.mirror_plan"},
        {"models.serving_changes", "models.serving_file"},
        {"models.remote_audit", "models.remote_versions"},
        {"models.remote_serving_file"},
        {"models.row_warnings", "models.frame_translation"},
        {"models.rows"},
        {"models.fast.common_numbers"},
        {
            "models.column_validation",
            "models.json_text",
            "models.outputs",
            "models.probabilities",
        },
        {
            "models.output_columns",
            "models.explanation.background",
            "models.explanation.coalitions",
            "models.explanation.evaluation_counts",
            "models.uncertainty",
            "models.drift.reference",
        },
        {"models.encoding", "models.network", "models.keras_nets", "models.keras_export", "models.engines"},
        {"models.fast.json_entries", "models.fast.fast_path"},
        {"models.tabular_model"},
        {"models.drift.counter", "models.drift.significance"},
        {"models.drift.drift_report", "models.drift.drift_table"},
        {"models.drift.histograms"},
        {"models.explanation.explainer", "models.differences"},
        {"models.optional_columns"},
        {"models.output_options"},
        {"models.option_parsing"},
        {"models.formats", "models.fast"},
        {"models.store_library_hooks", "models.unfinished_folder"},
        {"models.store_repair"},
        {"models.version_files"},
        {"models.golden_rows"},
        {"models.store"},
        {"models.store_mirror"},
        {"models.mirror_sync", "models.version_upload"},
        {"models.version_lifecycle"},
    ],
    "training": [
        {
            "training.boolean_words",
            "training.common_options",
            "training.errors",
            "training.out_of_fold",
            "training.work_progress",
        },
        {"training.progress"},
        {"training.steps", "training.importing.import_options", "training.importing.layer_graph"},
        {"training.config", "training.model_names", "training.importing.model_file"},
        {
            "training.raw_table",
            "training.encodings",
            "training.legacy_encodings",
            "training.file_content",
            "training.csv_end",
            "training.csv_preamble",
            "training.column_names",
            "training.table_inputs",
            "training.streaming.unnamed_file",
        },
        {
            "training.streaming.spill_file",
            "training.csv_rows",
            "training.streaming.byte_source",
            "training.streaming.cell_types",
            "training.streaming.local_copy",
            "training.streaming.part_columns",
        },
        {"training.streaming.spilled_columns", "training.streaming.stored_matrix"},
        {"training.streaming.spilled_frame", "training.streaming.column_file", "training.streaming.ndjson_stream"},
        {"training.encoded_rows", "training.streaming.database_table"},
        {"training.level_columns"},
        {"training.arguments", "training.bundled", "training.csv_format", "training.option_checks"},
        {
            "training.arrow_tables",
            "training.captured_data",
            "training.csv_table",
            "training.excel",
            "training.json_tables",
        },
        {"training.recipe", "training.streaming.parquet_columns"},
        {"training.streaming.large_reading", "training.row_limit"},
        {"training.reading"},
        {"training.cells", "training.training_run", "training.tensor_rows", "training.content_hash"},
        {
            "training.cell_values",
            "training.keras_options",
            "training.number_notation",
            "training.temperature",
            "training.text_model",
        },
        {"training.validation_loss"},
        {"training.folds", "training.further_trials"},
        {"training.ensemble"},
        {"training.date_formats", "training.ensemble_keras"},
        {"training.column_options", "training.edited_schema", "training.split_rule"},
        {"training.cell_formats"},
        {"training.column_types", "training.numeric_columns", "training.target"},
        {"training.infer_columns", "training.fit_keras", "training.fit_numpy", "training.linear_model"},
        {"training.dataset", "training.fit", "training.linear_candidate", "training.file_report"},
        {"training.linear_part"},
        {"training.isolated_cells", "training.pruned_trial"},
        {"training.ray_trainer"},
        {"training.leaks", "training.dataset_report", "training.examples", "training.tune", "training.row_hash"},
        {"training.test_set"},
        {"training.splitting", "training.comparison"},
        {"training.text_columns"},
        {"training.network_fit"},
        {"training.paired_comparison"},
        {"training.second_network"},
        {"training.text_trial", "training.date_trial", "training.level_trial", "training.log_target_trial"},
        {"training.final_fit"},
        {"training.build_dataset", "training.evaluation", "training.provenance", "training.error_scale"},
        {"training.conformalization", "training.importance", "training.scale_fit", "training.catboost_baseline"},
        {"training.coverage_report"},
        {"training.baselines", "training.card", "training.plots", "training.drift_reference"},
        {"training.pipeline"},
        {"training.promotion"},
        {"training.importing.input_columns", "training.importing.output_form"},
        {"training.importing.encoded_columns"},
        {"training.importing.lookups", "training.importing.rebuild"},
        {"training.importing.numpy_graph", "training.importing.sample"},
        {"training.importing.engine_choice"},
        {"training.importing.import_model"},
        {"training.importing.imported_version"},
        {"training.importing.import_run"},
        {"training.importing.import_command"},
    ],
    "scoring": [
        {
            "scoring.bad_row_limit",
            "scoring.errors",
            "scoring.scoring_options",
            "scoring.text_ranges",
            "scoring.version_archive",
            "scoring.worker_environment",
        },
        {"scoring.batch_scorer", "scoring.input_file", "scoring.model_choice", "scoring.scoring_progress"},
        {"scoring.input_list", "scoring.input_probe", "scoring.job_folder"},
        {"scoring.scoring_unit", "scoring.unit_writer", "scoring.remote_job_folder", "scoring.cluster_request"},
        {"scoring.remote_unit_writer"},
        {"scoring.unit_reader", "scoring.worker_pool", "scoring.ray_engine", "scoring.spark_engine"},
        {"scoring.bulk_job", "scoring.score_parser"},
        {"scoring.cluster_job"},
    ],
    "service": [
        {
            "service.access.caller",
            "service.access.key_format",
            "service.array_messages",
            "service.fair_queue",
            "service.following_status",
            "service.file_watch",
            "service.periodic_work",
            "service.confidence_sequence",
            "service.process_metrics",
            "service.drift_metrics",
            "service.row_sample",
            "service.recent_ids",
            "service.shared_database",
            "service.short_turns",
            "service.thread_priority",
            "service.traffic_split",
            "service.worker_records",
        },
        {
            "service.background_process",
            "service.fair_lock",
            "service.fair_turns",
            "service.metric_files",
            "service.window_counters",
        },
        {"service.refused_rows", "service.capture.capture_database"},
        {
            "service.bentoml_configuration",
            "service.errors",
            "service.logs",
            "service.metrics",
            "service.settings",
            "service.tracing",
        },
        {
            "service.bento_image",
            "service.memory_budget",
            "service.server_state",
            "service.version",
            "service.wanted_versions",
            "service.worker_files",
        },
        {
            "service.store_copy",
            "service.store_registration",
            "service.trace_export",
            "service.grpc_messages",
            "service.background_client",
        },
        {"service.model_selection"},
        {"service.version_check", "service.local_copies"},
        {"service.error_mapping"},
        {"service.protocols"},
        {"service.engine_cost"},
        {"service.batcher", "service.shared_costs", "service.explanation_queue"},
        {"service.served_model"},
        {"service.registry", "service.sequential_test", "service.drift_monitor"},
        {"service.capture.capture_queue", "service.capture.captured_tables", "service.capture.start_check"},
        {"service.capture.recorder"},
        {"service.capture.exporter"},
        {"service.capture.capture"},
        {"service.feedback.live_metrics", "service.feedback.version_judge"},
        {"service.feedback.live_report", "service.feedback.live_text"},
        {"service.feedback.feedback_desk"},
        {"service.shadow_queue"},
        {"service.data_plane"},
        {"service.feedback.live_gauges"},
        {"service.version_loader"},
        {"service.follower"},
        {"service.version_admin", "service.canary_watch", "service.access.keys_file", "service.access.key_rates"},
        {"service.access.key_ring", "service.request"},
        {"service.access_control", "service.plan_updates", "service.request_observer"},
        {"service.access.key_access", "service.access.key_requests"},
        {"service.exchange", "service.grpc_health_calls"},
        {"service.http", "service.openapi", "service.routes"},
        {"service.grpc_server", "service.grpc_tls", "service.server", "service.typed_endpoints"},
        {"service.app"},
    ],
}
"""The layers from the lowest up: a module or package imports nothing above its own layer. A module without a layer is
above all layers.
"""
PROTOCOL_FREE_MODULES = ["service.batcher", "service.served_model", "service.registry", "service.data_plane"]
"""Modules that must not depend on a protocol."""

FILES = sorted(path.relative_to(ROOT) for package in OURS for path in (ROOT / package).rglob("*.py"))


def imports(tree: ast.AST) -> Iterator[str]:
    """The full names of all modules that a syntax tree imports anywhere."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports are not used"
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def imported_at_load(tree: ast.Module) -> Iterator[str]:
    """The modules that are imported when a file is imported: not in functions, and not only for the type checker."""
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield from imports(node)
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            waiting += node.orelse
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            waiting += ast.iter_child_nodes(node)


def top_packages(names: Iterator[str]) -> set[str]:
    return {name.partition(".")[0] for name in names}


def parse_file(path: Path) -> ast.Module:
    return ast.parse((ROOT / path).read_text("utf-8"), str(path))


def graph() -> dict[str, set[str]]:
    """For each module of the project, the modules of the project that it imports; a package counts as its
    `__init__`.
    """
    modules = {".".join(path.with_suffix("").parts).removesuffix(".__init__"): path for path in FILES}
    return {name: {found for found in imports(parse_file(path)) if found in modules} for name, path in modules.items()}


GRAPH = graph()


def test_import_checks_find_files_of_every_package() -> None:
    assert {path.parts[0] for path in FILES} == set(OURS)


@pytest.mark.parametrize("path", FILES, ids=str)
def test_imports_between_packages_have_one_direction(path: Path) -> None:
    found = top_packages(imports(parse_file(path)))
    allowed = MAY_IMPORT[path.parts[0]] | ({"service"} if path.as_posix() in SERVICE_BENCHMARKS else set())
    assert found & {*OURS, "tests"} <= allowed


def layer_of(module: str) -> int:
    """The layer of a module, from its own name or from the name of its package."""
    layers = LAYERS[module.partition(".")[0]]
    for number, names in enumerate(layers):
        if any(module == name or module.startswith(f"{name}.") for name in names):
            return number
    return len(layers)


@pytest.mark.parametrize("name", [name for name in GRAPH if name.partition(".")[0] in LAYERS and "." in name])
def test_no_module_imports_a_layer_above_its_own(name: str) -> None:
    package = name.partition(".")[0]
    above = {found for found in GRAPH[name] if found.startswith(f"{package}.") and layer_of(found) > layer_of(name)}
    assert not above


def test_every_layer_has_modules() -> None:
    for package, layers in LAYERS.items():
        for name in set().union(*layers):
            assert name in GRAPH, f"{package} has no {name}"


@pytest.mark.parametrize("name", PROTOCOL_FREE_MODULES)
def test_prediction_modules_import_no_protocol(name: str) -> None:
    assert not {found for found in GRAPH[name] if found.startswith("service.protocols")}


def modules_in_cycles(graph: dict[str, set[str]]) -> list[str]:
    """The modules in import cycles, which remain when modules without imports or importers are removed."""
    left = {name: found - {name} for name, found in graph.items()}
    while True:
        imported = set().union(*left.values())
        kept = {name: found & left.keys() for name, found in left.items() if found & left.keys() and name in imported}
        if kept == left:
            return sorted(left)
        left = kept


def test_no_modules_import_each_other_in_a_cycle() -> None:
    """Imports in functions count, too, because they only hide a cycle."""
    assert modules_in_cycles(GRAPH) == []


@pytest.mark.parametrize(
    ("graph", "expected"),
    [
        ({"a": {"b"}, "b": set()}, []),
        ({"a": {"a"}}, []),
        ({"a": {"b"}, "b": {"c"}, "c": {"b", "d"}, "d": set()}, ["b", "c"]),
    ],
)
def test_search_for_import_cycles_finds_cycles(graph: dict[str, set[str]], expected: list[str]) -> None:
    assert modules_in_cycles(graph) == expected


@pytest.mark.parametrize("path", [path for path in FILES if path.parts[0] == "loadtest"], ids=str)
def test_load_tests_except_benchmarks_import_only_row_descriptions(path: Path) -> None:
    ours = {name for name in imports(parse_file(path)) if name.startswith("models.")}
    assert path.parts[1] == "bench" or all(
        ".".join(name.split(".")[:2]) in ROW_MODULES | {"models.command_line", "models.html_page", "models.text"}
        for name in ours
    )


@pytest.mark.parametrize("path", [path for path in FILES if path.parts[0] != "training"], ids=str)
def test_training_libraries_are_imported_only_in_training(path: Path) -> None:
    allowed = {"matplotlib"} if path.parts[0] == "loadtest" else set()
    if path.parts[0] == "scoring":  # scoring works on Arrow tables
        allowed = {"pyarrow"}
    if path.parts[:2] == ("loadtest", "bench"):  # benchmarks write Arrow and Parquet bodies
        allowed = {"matplotlib", "pyarrow"}
    if path.as_posix().startswith(ARROW_FORMATS):  # pyarrow is an optional library, imported only when it is used
        assert "pyarrow" not in top_packages(imported_at_load(parse_file(path)))
        allowed = {"pyarrow"}
    assert not top_packages(imports(parse_file(path))) & (TRAINING_LIBRARIES - allowed)


@pytest.mark.parametrize("path", [path for path in FILES if path.parts[0] != "training"], ids=str)
def test_keras_is_imported_only_when_a_model_needs_it(path: Path) -> None:
    if path.as_posix() not in KERAS_MODULES | KERAS_BENCHMARKS:
        assert not top_packages(imported_at_load(parse_file(path))) & KERAS_LIBRARIES
        heavy = {name.removesuffix(".py").replace("/", ".") for name in KERAS_MODULES}
        assert not set(imported_at_load(parse_file(path))) & heavy


@pytest.mark.parametrize("path", FILES, ids=str)
def test_grpc_is_imported_only_when_its_port_is_set(path: Path) -> None:
    if path.as_posix() not in GRPC_MODULES:
        found = set(imported_at_load(parse_file(path)))
        assert not top_packages(iter(found)) & GRPC_LIBRARIES
        assert not found & {name.removesuffix(".py").replace("/", ".") for name in GRPC_MODULES}


@pytest.mark.parametrize("path", FILES, ids=str)
def test_no_module_imports_pickle(path: Path) -> None:
    assert not top_packages(imports(parse_file(path))) & {"pickle", "cloudpickle", "joblib", "dill"}


@pytest.mark.parametrize(
    ("source", "anywhere", "at_load"),
    [
        ("import keras", {"keras"}, {"keras"}),
        ("def f():\n    import keras.layers", {"keras"}, set()),
        ("class A:\n    def f(self):\n        from keras import x", {"keras"}, set()),
        ("try:\n    import keras\nexcept ImportError:\n    pass", {"keras"}, {"keras"}),
        ("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import keras", {"typing", "keras"}, {"typing"}),
        ("class A:\n    import keras", {"keras"}, {"keras"}),
    ],
)
def test_import_reader_finds_imports_at_any_place(source: str, anywhere: set[str], at_load: set[str]) -> None:
    assert top_packages(imports(ast.parse(source))) == anywhere
    assert top_packages(imported_at_load(ast.parse(source))) == at_load


@pytest.mark.parametrize(
    ("program", "unneeded"),
    [
        ("models.store, service.data_plane, service.http.asgi", UNNEEDED_IN_WORKER),
        (SUPERVISOR_MODULES, UNNEEDED_IN_SUPERVISOR),
        ("service.__main__", UNNEEDED_IN_LAUNCHER),
        ("tabserve.__main__", UNNEEDED_IN_LAUNCHER),
    ],
)
def test_programs_do_not_load_unneeded_libraries(program: str, unneeded: set[str]) -> None:
    """numpy.random alone takes 2.7 MB of each worker, and an evaluated annotation already loads it."""
    program = f"import sys, {program}\nprint(*sorted({unneeded!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stdout.split()) == (0, []), done.stderr
