"""Builds the files of an imported version: card, golden rows, metrics, uncertainty, importance, reference."""

import platform
from dataclasses import asdict, replace
from importlib.metadata import version as package_version
from pathlib import Path
from typing import Any

import numpy as np

from models.explanation.background import Background
from models.tabular_model import TabularModel
from models.text import counted
from models.version_files import TrainedVersion
from training import card, conformalization, coverage_report, examples, plots
from training.config import DataOptions
from training.drift_reference import fit_reference
from training.evaluation import MAIN_METRIC
from training.importance import column_importance
from training.importing.import_model import ImportedModel

MAY_BE_TRAINED_ON_SAMPLE = (
    "The model was trained elsewhere. If it was trained on these rows, its errors here are smaller than on new rows, "
    "and its intervals and label sets are too narrow."
)


def build_version(imported: ImportedModel, data: DataOptions) -> TrainedVersion:
    """All files of the version."""
    dataset, split, held_out = imported.dataset, imported.split, imported.held_out
    golden = examples.draw_rows(
        dataset.schema, dataset.columns, split.test, np.random.default_rng(data.seed), real=data.real_examples
    )
    schema = examples.with_examples(dataset.schema, golden[0])
    others = np.concatenate([split.train, split.validation])
    scores = conformalization.fit_uncertainty(held_out)
    coverage = {} if scores is None else coverage_report.report(held_out, scores)
    background = Background.fit(schema, imported.frame.take(others), np.random.default_rng(data.seed))
    importance = column_importance(
        TabularModel("0", schema, imported.encoder, imported.engine.engine),
        background,
        held_out.frame,
        held_out.target,
        np.random.default_rng(data.seed),
    )
    main = MAIN_METRIC[schema.task]
    record = import_record(imported, data)
    pictures = plots.draw_plots(schema, [], held_out.target, held_out.outputs.primary, coverage, importance)
    return TrainedVersion(
        schema=schema,
        encoder=imported.encoder,
        golden_rows=golden,
        reason=imported.engine.reason,
        network=imported.engine.network,
        keras=imported.rebuilt.model,
        metrics={
            "metric": {"name": main, "value": imported.metrics[main]},
            "network": imported.metrics,
            "baselines": {},
            "split": split.how,
            "uncertainty": coverage,
            "importance": [asdict(column) for column in importance],
            "rows": {"train": 0, "validation": len(others), "test": len(split.test)},
        },
        background=background,
        reference=fit_reference(schema, imported.frame.take(others), held_out, imported.metrics),
        uncertainty=scores,
        scale_head=None if scores is None else imported.scale_head,
        training=record,
        card=write_card(replace(imported, dataset=replace(dataset, schema=schema)), record, coverage, importance),
        pictures=pictures,
    )


def import_record(imported: ImportedModel, data: DataOptions) -> dict[str, Any]:
    """The provenance of the version, for `training.json`. It has no test set: the training rows are unknown."""
    dataset = imported.dataset
    name = Path(data.data).name
    return {
        "imported": {
            "file": imported.file.name,
            "sha256": imported.file.sha256,
            "layers": [type(call.layer).__name__ for call in imported.rebuilt.graph.calls],
            "head": imported.output.name,
            "output": imported.form,
            "preprocessing": imported.columns.preprocessing,
            "inputs": imported.columns.columns,
            "distance": imported.engine.distance,
        },
        "options": asdict(data) | {"data": name},
        "data": name,
        "bundled": None,
        "fingerprint": dataset.fingerprint,
        "file": dataset.origin,
        "rows_read": dataset.rows_read,
        "rows_used": dataset.rows_used,
        "notices": dataset.notices + imported.split.notices + imported.notices,
        "parameters": int(imported.rebuilt.model.count_params()),
        "libraries": {"python": platform.python_version()}
        | {library: package_version(library) for library in ("numpy", "keras")},
    }


def write_card(imported: ImportedModel, record: dict[str, Any], coverage: dict[str, Any], importance: list[Any]) -> str:
    """card.md of an imported model."""
    schema, split, engine = imported.dataset.schema, imported.split, imported.engine
    made = {
        "none": "The input of the model is the numbers of the columns, unchanged.",
        "inside": "The model encodes the columns itself.",
        "fit": "The encoding is fitted to the sample: numbers are scaled by its mean and standard deviation, "
        "categories become one column for each level. The encoding that was used in training is unknown.",
    }[imported.columns.preprocessing]
    sections = [
        f"# {schema.name}",
        f"Predicts `{schema.target}` ({schema.task}) from {counted(len(schema.features), 'column')}. "
        f"Imported from `{imported.file.name}`.",
        "## Quality",
        f"On {counted(len(split.test), 'held-out row', spec=',')} of the sample ({split.how}). "
        f"{MAY_BE_TRAINED_ON_SAMPLE}",
        card.markdown_metrics(imported.metrics),
        "![predictions on held-out rows](answers.png)",
        *card.uncertainty_section(coverage),
        *card.importance_section(importance),
        "## Model and sample",
        f"Model: `{imported.file.name}`, SHA-256 `{imported.file.sha256[:16]}…`, "
        f"{counted(record['parameters'], 'parameter', spec=',')}, "
        f"layers: {', '.join(dict.fromkeys(record['imported']['layers']))}. "
        f"Its output `{imported.output.name}` is read as {imported.form}. {made}",
        f"Served by {engine.title}. On the sample its outputs equal those of `model.predict` "
        f"(largest difference {engine.distance:.1g}).",
        f"Sample: {record['data']}, {record['rows_used']:,} of {record['rows_read']:,} rows, SHA-256 "
        f"`{record['fingerprint'][:16]}…`.",
        *card.column_sections(schema),
        *card.notice_section(record["notices"]),
    ]
    return "\n\n".join(sections) + "\n"
