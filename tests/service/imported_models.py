"""Keras models of several architectures for import: models that are imported, and models that must be refused.

The weights are random, so that an error in any layer changes the predictions.

This file has more than 400 lines: one function for each model.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

ROWS = 120
Array = npt.NDArray[Any]


def make_table() -> pd.DataFrame:
    rng = np.random.default_rng(1)
    table = pd.DataFrame(
        {
            "age": rng.integers(18, 90, ROWS),
            "income": rng.normal(40_000, 9_000, ROWS).round(2),
            "score": rng.normal(0, 1, ROWS).round(4),
            "floor": rng.integers(0, 6, ROWS),
            "city": rng.choice(["Rome", "Bonn", "Oslo", "Lyon"], ROWS),
            "size": rng.choice(["S", "M", "L"], ROWS),
        }
    )
    table["price"] = (table["income"] * 2 + table["age"] * 100 + rng.normal(0, 5000, ROWS)).round(1)
    table["sold"] = np.where(table["score"] + rng.normal(0, 0.5, ROWS) > 0, "yes", "no")
    table["grade"] = pd.cut(table["score"], 3, labels=["low", "mid", "top"]).astype(str)
    return table


TABLE = make_table()
NUMBERS = ["age", "income", "score"]


def matrix(table: pd.DataFrame) -> Array:
    return table[NUMBERS].to_numpy(np.float32)


def column(table: pd.DataFrame, name: str, kind: Any = np.float32) -> Array:
    return table[[name]].to_numpy(kind)


@dataclass
class ImportableModel:
    """A Keras model that can be imported. model_input: converts a table to the input of the model's `predict`. options:
    passed to `store_keras_model`.
    """

    model: Any
    model_input: Callable[[pd.DataFrame], Any]
    target: str
    columns: list[str] = field(default_factory=lambda: list(NUMBERS))
    form: str = "probabilities"  # of the outputs
    engine: str = "numpy"
    options: dict[str, Any] = field(default_factory=dict)

    def original_predictions(self, table: pd.DataFrame) -> Array:
        """The predictions of the Keras model: values, or the probabilities of the classes."""
        outputs = self.model.predict(self.model_input(table), verbose=0)
        outputs = outputs[self.options.get("head", self.target)] if isinstance(outputs, dict) else outputs
        outputs = outputs.astype(np.float64)
        if self.form == "value":
            return np.asarray(outputs)
        if self.form == "logits":
            outputs = 1 / (1 + np.exp(-outputs)) if outputs.shape[1] == 1 else np.exp(outputs)
            outputs = outputs if outputs.shape[1] == 1 else outputs / outputs.sum(axis=1, keepdims=True)
        return np.asarray(np.concatenate([1 - outputs, outputs], axis=1) if outputs.shape[1] == 1 else outputs)


def normalization() -> Any:
    from keras import layers

    layer = layers.Normalization(name="scaled")
    layer.adapt(matrix(TABLE))
    return layer


def with_random_state(model: Any) -> Any:
    """The model with random biases and running means, as after training, instead of their initial values."""
    rng = np.random.default_rng(2)
    for layer in model.layers:
        if type(layer).__name__ == "Sequential":
            with_random_state(layer)
        elif type(layer).__name__ in ("BatchNormalization", "LayerNormalization"):
            layer.set_weights([np.abs(rng.normal(1, 0.3, weight.shape)) for weight in layer.get_weights()])
        elif type(layer).__name__ == "Dense" and layer.use_bias:
            W, b = layer.get_weights()
            layer.set_weights([W, rng.normal(0, 0.3, b.shape)])
    return model


def dense_model() -> ImportableModel:
    import keras
    from keras import layers

    model = keras.Sequential([keras.Input((3,)), layers.Dense(8, "tanh"), layers.Dense(1)])
    return ImportableModel(with_random_state(model), matrix, "price", form="value")


def dropout_model() -> ImportableModel:
    import keras
    from keras import layers

    stack = [
        keras.Input((3,)),
        normalization(),
        layers.Dense(9, "relu"),
        layers.Dropout(0.4),
        layers.GaussianNoise(1.0),
    ]
    return ImportableModel(
        with_random_state(keras.Sequential([*stack, layers.Dense(1, "softplus")])), matrix, "price", form="value"
    )


def batch_normalization_model() -> ImportableModel:
    import keras
    from keras import layers

    nested = keras.Sequential([layers.Dense(6, use_bias=False), layers.BatchNormalization(), layers.ReLU()])
    stack = [keras.Input((3,)), layers.Rescaling(1e-4, 0.1), nested, layers.Dense(1, activation="sigmoid")]
    return ImportableModel(with_random_state(keras.Sequential(stack)), matrix, "sold")


def lookup_model() -> ImportableModel:
    import keras
    from keras import layers

    city, numbers = keras.Input((1,), dtype="string", name="city"), keras.Input((3,), name="numbers")
    lookup = layers.StringLookup(name="cities")
    lookup.adapt(TABLE["city"].to_numpy())
    hot = layers.CategoryEncoding(lookup.vocabulary_size(), output_mode="one_hot")(lookup(city))
    hidden = layers.Dense(7, "relu")(layers.Concatenate()([normalization()(numbers), hot]))
    model = keras.Model([numbers, city], layers.Dense(3, "softmax")(hidden))

    def model_input(table: pd.DataFrame) -> Any:
        import tensorflow as tf

        return [matrix(table), tf.constant(table[["city"]].to_numpy(str))]

    return ImportableModel(with_random_state(model), model_input, "grade", [*NUMBERS, "city"])


def several_inputs_model() -> ImportableModel:
    import keras
    from keras import layers

    inputs = {
        name: keras.Input((1,), name=name, dtype=kind)
        for name, kind in {"score": "float32", "size": "string", "floor": "int32", "age": "float32"}.items()
    }
    sizes = layers.StringLookup(vocabulary=["L", "M", "S"], output_mode="one_hot", num_oov_indices=0)(inputs["size"])
    floors = layers.IntegerLookup(vocabulary=[0, 1, 2, 3], output_mode="one_hot")(inputs["floor"])
    hidden = layers.Concatenate()([inputs["score"], sizes, floors, layers.Rescaling(0.01)(inputs["age"])])
    model = keras.Model(inputs, layers.Dense(1, name="sold")(layers.Dense(5, "gelu")(hidden)))

    def model_input(table: pd.DataFrame) -> Any:
        import tensorflow as tf

        return {
            "score": column(table, "score"),
            "size": tf.constant(table[["size"]].to_numpy(str)),
            "floor": column(table, "floor", np.int32),
            "age": column(table, "age"),
        }

    columns = ["score", "size", "floor", "age"]
    return ImportableModel(
        with_random_state(model), model_input, "sold", columns, form="logits", options={"output": "logits"}
    )


def three_head_model() -> ImportableModel:
    import keras
    from keras import layers

    numbers = keras.Input((3,), name="numbers")
    trunk = layers.Dense(8, "relu", name="trunk")(normalization()(numbers))
    outputs = {
        "price": layers.Dense(1, name="price")(trunk),
        "grade": layers.Dense(3, "softmax", name="grade")(layers.Dense(4, "elu")(trunk)),
        "sold": layers.Dense(1, "sigmoid", name="sold")(trunk),
    }
    return ImportableModel(with_random_state(keras.Model(numbers, outputs)), matrix, "grade")


def inner_softmax_model() -> ImportableModel:
    """A softmax inside the network weights the columns; the output softmax is a separate layer."""
    import keras
    from keras import layers

    numbers = keras.Input((3,), name="numbers")
    scaled = normalization()(numbers)
    gate = layers.Dense(3, "softmax")(scaled)
    hidden = layers.Dense(3)(layers.Multiply()([scaled, gate]))
    return ImportableModel(with_random_state(keras.Model(numbers, layers.Softmax()(hidden))), matrix, "grade")


def logits_model() -> ImportableModel:
    import keras
    from keras import layers

    model = keras.Sequential([keras.Input((3,)), normalization(), layers.Dense(5, "silu"), layers.Dense(3)])
    return ImportableModel(with_random_state(model), matrix, "grade", form="logits")


def residual_model() -> ImportableModel:
    """Two residual connections, one by a layer and one by an operator, that share a dense layer."""
    import keras
    from keras import layers

    numbers = keras.Input((3,), name="numbers")
    hidden = layers.Dense(6, "relu")(normalization()(numbers))
    shared = layers.Dense(6, "tanh", name="shared")
    hidden = layers.Add()([hidden, shared(hidden)])
    hidden = hidden + shared(hidden)
    return ImportableModel(
        with_random_state(keras.Model(numbers, layers.Dense(1)(hidden))), matrix, "price", form="value"
    )


def wide_and_deep_model() -> ImportableModel:
    """A wide and deep network whose branches use single columns."""
    import keras
    from keras import layers

    inputs = [keras.Input((1,), name=name) for name in NUMBERS]
    both = layers.Concatenate()(inputs)
    deep = layers.Dense(4, "relu")(layers.Rescaling(1e-3)(both))
    low, high = layers.Minimum()([inputs[0], inputs[2]]), layers.Maximum()([inputs[0], inputs[2]])
    wide = layers.Concatenate()([low, high, deep, layers.Average()([inputs[0], inputs[2]])])
    model = keras.Model(inputs, layers.Dense(1)(layers.Subtract()([layers.Dense(2)(wide), layers.Dense(2)(deep)])))
    return ImportableModel(
        with_random_state(model), lambda table: [column(table, name) for name in NUMBERS], "price", form="value"
    )


def embedding_model() -> ImportableModel:
    import keras
    from keras import layers

    floor, score = keras.Input((1,), dtype="int32", name="floor"), keras.Input((1,), name="score")
    vectors = layers.Flatten()(layers.Embedding(6, 3, name="floors")(floor))
    hidden = layers.Dense(5, "relu")(layers.Concatenate()([vectors, score]))
    model = keras.Model([floor, score], layers.Dense(1, "sigmoid")(hidden))

    def model_input(table: pd.DataFrame) -> Any:
        return [column(table, "floor", np.int32), column(table, "score")]

    return ImportableModel(with_random_state(model), model_input, "sold", ["floor", "score"])


def attention_model() -> ImportableModel:
    """Blocks like those of keras.applications, for vectors: bottlenecks with squeeze and excitation, then attention."""
    import keras
    from keras import layers

    numbers = keras.Input((3,), name="numbers")
    hidden = layers.Dense(8)(normalization()(numbers))
    for _ in range(2):
        inner = layers.Activation("swish")(layers.BatchNormalization()(layers.Dense(4, use_bias=False)(hidden)))
        inner = layers.BatchNormalization()(layers.Dense(8, use_bias=False)(inner))
        gate = layers.Dense(8, "sigmoid")(layers.Dense(2, "relu")(inner))
        hidden = layers.Add()([hidden, layers.Multiply()([inner, gate])])
    tokens = layers.Reshape((4, 2))(layers.LayerNormalization()(hidden))
    mixed = layers.MultiHeadAttention(2, 3)(tokens, tokens)
    pooled = layers.GlobalAveragePooling1D()(layers.Add()([tokens, mixed]))
    model = keras.Model(numbers, layers.Dense(3, "softmax")(pooled))
    return ImportableModel(with_random_state(model), matrix, "grade", engine="tensorflow")


IMPORTABLE_MODELS: list[Callable[[], ImportableModel]] = [
    dense_model,
    dropout_model,
    batch_normalization_model,
    lookup_model,
    several_inputs_model,
    three_head_model,
    inner_softmax_model,
    logits_model,
    residual_model,
    wide_and_deep_model,
    embedding_model,
    attention_model,
]


@dataclass(frozen=True)
class RefusedImport:
    """An import that must be refused. make: returns a model, or the path of a file that it writes. reason: part of the
    error message.
    """

    make: Callable[[Path], Any]
    reason: str
    target: str = "sold"
    columns: tuple[str, ...] = tuple(NUMBERS)


def _sequential(*stack: Any, width: int = 3) -> Any:
    import keras

    return keras.Sequential([keras.Input((width,)), *stack])


def lambda_layer(_: Path) -> Any:
    from keras import layers

    return _sequential(layers.Lambda(lambda x: x * 2, name="double"), layers.Dense(1, "sigmoid"))


def custom_layer(_: Path) -> Any:
    import keras
    from keras import layers

    class Cube(layers.Layer):  # type: ignore[misc]
        def call(self, x: Any) -> Any:
            return x**3

    registered = keras.saving.register_keras_serializable(package="owner")(Cube)
    return _sequential(registered(name="cubed"), layers.Dense(1, "sigmoid"))


def text_vectors(_: Path) -> Any:
    import keras
    from keras import layers

    text = keras.Input((1,), dtype="string", name="city")
    vectors = layers.TextVectorization(10, output_sequence_length=3, name="words")
    vectors.adapt(TABLE["city"].to_numpy())
    words = layers.Flatten()(layers.Embedding(10, 2)(vectors(text)))
    return keras.Model(text, layers.Dense(1, "sigmoid")(words))


def hashed_lookup(_: Path) -> Any:
    import keras
    from keras import layers

    city = keras.Input((1,), dtype="string", name="city")
    lookup = layers.StringLookup(num_oov_indices=3, vocabulary=["Rome"], name="spread", output_mode="one_hot")
    return keras.Model(city, layers.Dense(1, "sigmoid")(lookup(city)))


def wrong_width(_: Path) -> Any:
    from keras import layers

    return _sequential(layers.Dense(4, "softmax", name="four"))


def sequence(_: Path) -> Any:
    import keras
    from keras import layers

    steps = keras.Input((5, 2), name="steps")
    return keras.Model(steps, layers.Dense(1, "sigmoid")(layers.Flatten()(steps)))


def recurrent(_: Path) -> Any:
    from keras import layers

    return _sequential(layers.Reshape((3, 1)), layers.LSTM(2, name="memory"), layers.Dense(1, "sigmoid"))


def too_few_columns(_: Path) -> Any:
    from keras import layers

    return _sequential(layers.Dense(1, "sigmoid"), width=7)


def computed_index(_: Path) -> Any:
    from keras import layers

    return _sequential(
        layers.Dense(2, "relu"), layers.Embedding(4, 2, name="looked_up"), layers.Flatten(), layers.Dense(1, "sigmoid")
    )


def many_labels(_: Path) -> Any:
    from keras import layers

    return _sequential(layers.Dense(3, "sigmoid", name="labels"))


def hdf5(folder: Path) -> Any:
    path = folder / "old.h5"
    path.write_bytes(b"\x89HDF\r\n\x1a\n")
    return path


def saved_model(folder: Path) -> Any:
    (folder / "saved").mkdir()
    (folder / "saved" / "saved_model.pb").write_bytes(b"\x08\x01")
    return folder / "saved"


REFUSED_IMPORTS = {
    "a Lambda layer": RefusedImport(lambda_layer, "layer 'double' is a Lambda layer"),
    "a custom layer": RefusedImport(custom_layer, "layer 'cubed' is of the custom class owner>Cube"),
    "a vector of words": RefusedImport(
        text_vectors, "layer 'words' is of the class TextVectorization", columns=("city",)
    ),
    "a hashed lookup": RefusedImport(
        hashed_lookup, "layer 'spread' (StringLookup) spreads unknown values", columns=("city",)
    ),
    "a wrong width": RefusedImport(
        wrong_width, "layer 'four' (Dense) has 4 outputs, and the target 'sold' has 2 classes"
    ),
    "a sequence": RefusedImport(sequence, "input 'steps' takes 5 by 2 values for a row"),
    "a recurrent layer": RefusedImport(
        recurrent, "layer 'memory' is of the class LSTM, which is for sequences or images"
    ),
    "too few columns": RefusedImport(too_few_columns, "takes 7 numbers, and the sample has 3 columns"),
    "a computed index": RefusedImport(
        computed_index, "layer 'looked_up' (Embedding) looks up numbers that other layers compute"
    ),
    "several labels": RefusedImport(many_labels, "layer 'labels' (Dense) has 3 outputs with a sigmoid each", "grade"),
    "an HDF5 file": RefusedImport(hdf5, "old.h5 is an HDF5 file"),
    "a SavedModel": RefusedImport(saved_model, "saved is a SavedModel"),
    "text for numbers": RefusedImport(
        lambda _: dense_model().model, "column 'city' contains names", "price", ("age", "score", "city")
    ),
}
