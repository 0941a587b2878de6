"""Builds a model with the outputs of an original Keras model, from the model's file and a sample of rows."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from models.encoding.encoder import Encoder
from models.frame import Frame
from models.network.scale_head import ScaleHead
from models.schema import FeatureSchema
from models.tabular_model import Engine, TabularModel
from models.text import counted
from training import conformalization, dataset_report
from training.config import DataOptions
from training.conformalization import HeldOutRows
from training.dataset import Dataset
from training.errors import UsageError
from training.evaluation import EvaluationMetrics, evaluate
from training.importing.encoded_columns import Array, CodedColumn, input_parts, make_encoder, original_inputs
from training.importing.engine_choice import ImportedEngine, choose_engine, to_served_outputs
from training.importing.import_options import ImportOptions, OutputForm
from training.importing.input_columns import ColumnMatch, match_columns
from training.importing.layer_graph import Call, LayerGraph, read_graph
from training.importing.lookups import lookup_table
from training.importing.model_file import ModelFile, read_model_file
from training.importing.output_form import ModelOutput, check_width, choose_output, declared_form
from training.importing.sample import Sample, check_columns_used, fitted_dataset
from training.scale_fit import MAX_HELD_OUT_ROWS, evenly_spaced, with_scale_head
from training.splitting import Split, split_rows
from training.steps import step
from training.training_run import Report

if TYPE_CHECKING:  # the module imports Keras
    from training.importing.rebuild import RebuiltModel

MAX_COMPARED_ROWS = 2000  # maximum number of rows on which the outputs are compared with the original model


@dataclass(frozen=True)
class ImportedModel:
    """A model with the outputs of the original model, the rows of the sample, and the metrics on held-out rows."""

    file: ModelFile
    dataset: Dataset
    columns: ColumnMatch
    split: Split
    frame: Frame
    encoder: Encoder
    output: ModelOutput
    form: OutputForm
    rebuilt: "RebuiltModel"
    engine: ImportedEngine
    scale_head: ScaleHead | None
    held_out: HeldOutRows
    metrics: EvaluationMetrics
    notices: list[str]


def import_model(options: ImportOptions, data: DataOptions, report: Report) -> ImportedModel:
    """Read both files, match inputs and columns, rebuild the model, compare it with the original, and evaluate it."""
    file = read_model_file(Path(options.model))
    with step("its layers cannot be read", options.model):
        graph = read_graph(file.model)
        sample = Sample.read(data)
        output = choose_output(graph, sample.target, options.head)
        columns = match_columns(graph, sample.columns, options.preprocessing)
        dataset, form, notices = _dataset(sample, graph, columns, output, file.model, options)
    schema = dataset.schema
    with step("its rows cannot be split", data.data):
        split = split_rows(dataset, data)
    report(dataset_report.report(dataset))

    frame = schema.frames.from_columns(dataset.columns)
    values = dataset.target if form == "value" else None
    encoder = make_encoder(schema, frame, values, columns)
    rebuilt = _rebuild_model(graph, schema, columns, encoder, output, form)
    compared = frame.take(slice(MAX_COMPARED_ROWS))
    with step("the original model cannot be called", options.model):
        original = to_served_outputs(_predict(file.model, graph, schema, encoder, columns, compared, output), form)

    def model_of(engine: Engine) -> TabularModel:
        return TabularModel("0", schema, encoder, engine)

    engine = choose_engine(rebuilt, model_of, compared, original)
    report(describe_engine(engine, len(compared.numbers)))
    with step("the model cannot be evaluated", options.model):
        head, model = _with_scale(model_of(engine.engine), engine, rebuilt, dataset, frame, split)
        held_out = conformalization.held_out_rows(model, frame.take(split.test), dataset.target[split.test])
        metrics = evaluate(schema.task, held_out.target, held_out.outputs.primary)
    notices += [*check_columns_used(sample.table, columns, sample.target), *quality_notices(held_out, metrics)]
    for notice in notices:
        report(f"note: {notice}")
    return ImportedModel(
        file,
        dataset,
        columns,
        split,
        frame,
        encoder,
        output,
        form,
        rebuilt,
        engine,
        head,
        held_out,
        metrics,
        notices,
    )


def describe_engine(engine: ImportedEngine, rows: int) -> str:
    on_rows = f"on {counted(rows, 'row', spec=',')}"
    equal = f"Equal to model.predict {on_rows} of the sample (largest difference {engine.distance:.1g})."
    return f"Served by {engine.title}. {equal}"


def _dataset(
    sample: Sample, graph: LayerGraph, columns: ColumnMatch, output: ModelOutput, model: Any, options: ImportOptions
) -> tuple[Dataset, OutputForm, list[str]]:
    """The sample as a data set for the model, the form of the outputs, and notices."""
    width = output_width(model, output.name, list(graph.outputs))
    form = declared_form(output, width, options.output)
    task = sample.options.task
    if form is not None:
        task = "regression" if form == "value" else "classification"
    dataset = sample.dataset(columns, task)
    if form is None:
        form = _form_by_target(dataset, output, task)
        if dataset.schema.task != "regression" and form == "value":
            dataset = sample.dataset(columns, "regression")
    if (dataset.schema.task == "regression") != (form == "value"):
        raise UsageError(f"--task {sample.options.task} contradicts the outputs of the model, which are {form}")
    check_width(output, width, form, dataset.schema.classes, sample.target)
    fitted, notices = fitted_dataset(dataset, graph, columns)
    _check_fit_width(graph, columns, fitted)
    return fitted, form, notices


def _form_by_target(dataset: Dataset, output: ModelOutput, task: str | None) -> OutputForm:
    """Determine the form of a single output without an activation from the target."""
    if dataset.schema.task == "binary" and task is None:
        raise UsageError(
            f"{output.layer} has one output without an activation, and the target has two values: use --output logits "
            "or --output value"
        )
    return "logits" if dataset.schema.task == "binary" else "value"


def output_width(model: Any, name: str, names: list[str]) -> int:
    """The number of outputs of a row. Raises UsageError if they are not a list of numbers."""
    shape = tuple(model.outputs[names.index(name)].shape[1:])
    if len(shape) != 1 or shape[0] is None:
        raise UsageError(f"the output {name!r} has the shape {shape} for a row; expected one list of numbers")
    return int(shape[0])


def _check_fit_width(graph: LayerGraph, columns: ColumnMatch, dataset: Dataset) -> None:
    """Raises UsageError if the number of columns made by --preprocessing fit differs from the width of the input."""
    if columns.preprocessing != "fit":
        return
    schema = dataset.schema
    made = {feature.name: 1 if feature.kind != "category" else feature.levels for feature in schema.in_frame_order}
    width = graph.inputs[0].width
    if sum(made.values()) != width:
        each = ", ".join(f"{name} {count}" for name, count in made.items())
        raise UsageError(
            f"input {graph.inputs[0].name!r} takes {counted(width, 'number')}, but the columns of the sample make "
            f"{sum(made.values())}: {each} (one for a number or a boolean, one for each level of a category)"
        )


def _rebuild_model(
    graph: LayerGraph,
    schema: FeatureSchema,
    columns: ColumnMatch,
    encoder: Encoder,
    output: ModelOutput,
    form: OutputForm,
) -> "RebuiltModel":
    from training.importing.rebuild import ModelEnd, rebuild

    places = {feature.name: place for place, feature in enumerate(schema.in_frame_order)}

    def table(call: Call) -> CodedColumn:
        model_input = graph.inputs[-1 - call.values[0].call]
        (column,) = columns.columns[model_input.name]
        levels = schema.by_name[column].seen.levels or []
        if type(call.layer).__name__ == "StringLookup":
            levels = [str(level) for level in levels]
        width = None if not model_input.shape else 1
        return CodedColumn(places[column], lookup_table(call.layer, levels, width))

    parts = input_parts(schema, columns)
    return rebuild(graph, encoder.width, parts, table, ModelEnd(output, form, encoder.target))


def _predict(
    model: Any,
    graph: LayerGraph,
    schema: FeatureSchema,
    encoder: Encoder,
    columns: ColumnMatch,
    rows: Frame,
    output: ModelOutput,
) -> Array:
    """(rows, outputs): the outputs of the original model for its own inputs."""
    import keras
    import tensorflow as tf

    arrays = original_inputs(schema, encoder, columns, rows, graph.inputs)
    tensors = {name: tf.constant(array) for name, array in arrays.items()}
    structure = model.inputs[0] if len(graph.inputs) == 1 else model.input
    inputs = keras.tree.map_structure(lambda tensor: tensors[tensor.name], structure)
    found = model(inputs, training=False)
    flat = keras.tree.flatten(found)  # dictionaries in the order of their keys, as in the graph
    return np.asarray(flat[list(graph.outputs).index(output.name)])


def _with_scale(
    model: TabularModel,
    engine: ImportedEngine,
    rebuilt: "RebuiltModel",
    dataset: Dataset,
    frame: Frame,
    split: Split,
) -> tuple[ScaleHead | None, TabularModel]:
    """The model with the scale of a regression's errors, fitted to the rows that are not in the test set."""
    if dataset.schema.task != "regression":
        return None, model
    rows = evenly_spaced(np.concatenate([split.train, split.validation]), MAX_HELD_OUT_ROWS)
    x = model.encoder.encode(frame.take(rows))
    scaling = model.encoder.target
    errors = scaling.apply(dataset.target[rows]) - scaling.apply(model.predict_encoded(x).primary[:, 0])
    return with_scale_head(model, engine.network, rebuilt.model, (x, errors))


def quality_notices(held_out: HeldOutRows, metrics: EvaluationMetrics) -> list[str]:
    """A notice if the model is not better than a constant, as happens if its inputs differ from those in training."""
    advice = "does the model need the columns in another order, or scaled? See --preprocessing and --schema"
    classes = ", ".join(map(str, held_out.schema.classes or ()))
    if held_out.schema.task == "regression":
        if metrics.get("r2", 1.0) > 0:
            return []
        return [f"R² is {metrics['r2']:.3g} on the held-out rows, not better than the mean: {advice}"]
    most = float(np.bincount(held_out.target).max() / len(held_out.target))
    if metrics["accuracy"] > most or most == 1.0:
        return []
    advice += f"; the classes are read in the order {classes}, and the classes of a schema in its order"
    return [
        f"the accuracy {metrics['accuracy']:.3g} is not above that of the most frequent class, {most:.3g}: {advice}"
    ]
