"""Makes the pictures of the book with the code that the book explains: `.venv/bin/python docs/make_pictures.py`."""

import sys
from itertools import pairwise
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd

mpl.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))  # this script imports packages from the parent folder
from models.network import activations  # noqa: E402
from models.network.activations import Array  # noqa: E402
from models.network.layers import Activation, Dense  # noqa: E402
from models.network.losses import BinaryCrossEntropy, Targets  # noqa: E402
from models.network.network import Network  # noqa: E402
from models.network.optimizers import Adam  # noqa: E402

BLUE, ORANGE, GREY = "#2a6f97", "#e07a1f", "#8a8f98"


def main() -> None:
    plt.rcParams.update({"font.size": 10, "axes.spines.top": False, "axes.spines.right": False, "figure.dpi": 110})
    for draw in (architecture, activation_functions, saturation, spirals, learning):
        draw()
        plt.savefig(HERE / "pictures" / f"{draw.__name__}.png", bbox_inches="tight", metadata={"Software": ""})
        plt.close("all")
        print(f"docs/pictures/{draw.__name__}.png")


def architecture() -> None:
    """The units and weights of a network as circles and lines."""
    _, axes = plt.subplots(figsize=(8, 4))
    columns = [
        ("a row: x", ["age", "hours", "school", "…"], GREY),
        ("hidden: h = relu(x·W₁ + b₁)", ["h₁", "h₂", "h₃", "h₄", "…"], BLUE),
        ("logit: z = h·W₂ + b₂", ["z"], BLUE),
        ("p = sigmoid(z)", ["p"], ORANGE),
    ]
    places = [
        [(2.4 * i, 1.2 * ((len(names) - 1) / 2 - j)) for j in range(len(names))]
        for i, (_, names, _) in enumerate(columns)
    ]
    for left, right in pairwise(places):
        for x0, y0 in left:
            for x1, y1 in right:
                axes.plot([x0, x1], [y0, y1], color="#c9ced6", linewidth=1, zorder=1)
    for (title, names, colour), spots in zip(columns, places, strict=True):
        for name, (x, y) in zip(names, spots, strict=True):
            axes.scatter([x], [y], s=1150, color="white", edgecolor=colour, linewidth=2, zorder=2)
            axes.text(x, y, name, ha="center", va="center", fontsize=7 if len(name) > 3 else 11, zorder=3)
        axes.text(spots[0][0], 3.2, title, ha="center", fontsize=9, color=colour)
    axes.set(xlim=(-0.9, 8.1), ylim=(-3, 3.5))
    axes.axis("off")


def activation_functions() -> None:
    """Every activation function of single numbers, with its derivative."""
    names = [name for name in activations.FUNCTIONS if name != "softmax"]
    _, grid = plt.subplots(3, 3, figsize=(9, 7), sharex=True)
    x = np.linspace(-4, 4, 801)[:, np.newaxis]
    for name, axes in zip(names, grid.flat, strict=True):
        function = activations.get(name)
        y = function.forward(x)
        axes.axhline(0, color="#dde1e6", linewidth=1)
        axes.axvline(0, color="#dde1e6", linewidth=1)
        axes.plot(x, y, color=BLUE, label="y = f(x)")
        axes.plot(x, function.backward(np.ones_like(x), x, y), color=ORANGE, linestyle="--", label="f'(x)")
        axes.set(title=name, ylim=(-1.3, 2.3))
    grid[0, 0].legend(frameon=False, loc="upper left")
    plt.tight_layout()


def saturation() -> None:
    """The outputs of 64 sigmoid units for 1,000 rows of 100 standardised columns, with two types of random weights."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(1000, 100))
    weights = {"weights from a unit normal": rng.normal(size=(100, 64)), "Glorot": Dense.new(100, 64, rng).W}
    _, pair = plt.subplots(1, 2, figsize=(9, 3), sharey=True)
    for (title, W), axes in zip(weights.items(), pair, strict=True):
        h = activations.Sigmoid().forward(x @ W)
        axes.hist(h.ravel(), bins=50, color=BLUE, density=True)
        axes.set(title=f"{title}: mean h(1 - h) = {(h * (1 - h)).mean():.3f}", xlabel="h = sigmoid(x·W)", xlim=(0, 1))
    pair[0].set(ylabel="density")
    plt.tight_layout()


def spirals() -> None:
    """The predictions of a 2-32-32-1 network for two spirals at four times during training."""
    rng = np.random.default_rng(1)
    x, y = two_spirals(rng)
    network = Network(
        [Dense.new(2, 32, rng), Activation("tanh"), Dense.new(32, 32, rng), Activation("tanh"), Dense.new(32, 1, rng)]
    )
    optimizer, done = Adam(0.01), 0
    _, panels = plt.subplots(1, 4, figsize=(12, 3.2))
    for epochs, axes in zip((0, 20, 80, 300), panels, strict=True):
        network.fit(x, y, loss=BinaryCrossEntropy(), optimizer=optimizer, epochs=epochs - done, batch_size=50, rng=rng)
        done = epochs
        _boundary(axes, network)
        axes.scatter(*x.T, c=np.where(y == 1, ORANGE, BLUE), s=7, edgecolor="white", linewidth=0.3)
        accuracy = ((network.predict(x)[:, 0] > 0) == y).mean()
        axes.set(title=f"{epochs} epochs: {accuracy:.0%} right", xticks=[], yticks=[])
    plt.tight_layout()


def learning() -> None:
    """The losses on training and validation rows of a network that is too large for 3,000 rows of the income table."""
    table = pd.read_csv(HERE.parent / "training" / "datasets" / "adult.csv.gz")[:6000]
    y = (table.pop("income") == ">50K").to_numpy()
    numbers = table.select_dtypes("number")
    x = np.hstack([(numbers - numbers.mean()) / numbers.std(), pd.get_dummies(table.select_dtypes(exclude="number"))])
    rng = np.random.default_rng(0)
    network = Network([Dense.new(x.shape[1], 64, rng), Activation("relu"), Dense.new(64, 1, rng)])
    history = network.fit(
        x[:3000],
        y[:3000],
        loss=BinaryCrossEntropy(),
        optimizer=Adam(0.002),
        epochs=30,
        batch_size=64,
        rng=rng,
        validation=(x[3000:], y[3000:]),
    )
    _, axes = plt.subplots(figsize=(6, 3.2))
    number = [epoch.number for epoch in history]
    unseen = [epoch.validation_loss or 0.0 for epoch in history]
    axes.plot(number, [epoch.loss for epoch in history], color=BLUE, label="rows it learns from")
    axes.plot(number, unseen, color=ORANGE, label="rows it never saw")
    best = int(np.argmin(unseen))
    axes.plot(number[best], unseen[best], "o", color=ORANGE)
    axes.annotate("best: stop here", (number[best], unseen[best]), xytext=(4, 14), textcoords="offset points")
    axes.set(xlabel="epoch", ylabel="cross-entropy")
    axes.legend(frameon=False)


def two_spirals(rng: np.random.Generator) -> tuple[Array, Targets]:
    t = np.sqrt(rng.random(300)) * 2.5 * np.pi
    arm = np.stack([t * np.cos(t), t * np.sin(t)], axis=1) / 5 + rng.normal(0, 0.05, (300, 2))
    return np.concatenate([arm, -arm]), np.repeat([0, 1], 300)


def _boundary(axes: Axes, network: Network) -> None:
    side = np.linspace(-1.9, 1.9, 150)
    points = np.stack([part.ravel() for part in np.meshgrid(side, side)], axis=1)
    p = activations.Sigmoid().forward(network.predict(points)).reshape(150, 150)
    axes.contourf(side, side, p, levels=np.linspace(0, 1, 11), cmap="RdYlBu_r", alpha=0.55)


if __name__ == "__main__":
    main()
