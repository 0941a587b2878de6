"""The container image of the service: base image and locked packages."""

import re
from collections.abc import Collection, Sequence
from pathlib import Path

import bentoml
from bentoml.exceptions import BentoMLException
from bentoml.images import Image

from models.tabular_model import TabularModel

REQUIREMENTS = Path(__file__).resolve().parents[1] / "requirements"
EXTRAS = ("arrow", "cloud", "grpc", "signing", "tracing")
PYTHON = "3.11"  # version in the base image; by default BentoML would use the builder's version


def bento_image(models: Sequence[TabularModel]) -> Image:
    """The image, with TensorFlow if a model needs it and the extras of `bentoml build --arg extras=arrow,grpc`."""
    extras = set(re.findall(r"[^\s,]+", str(getattr(bentoml.use_arguments(), "extras", ""))))
    if unknown := sorted(extras.difference(EXTRAS)):
        raise BentoMLException(f"extras: {unknown[0]!r} is not an extra, expected one or more of {', '.join(EXTRAS)}")
    if any(model.engine.name == "tensorflow" for model in models):
        extras.add("tensorflow")
    return Image(
        base_image=f"python:{PYTHON}-slim",
        python_version=PYTHON,
        distro="none",
        lock_python_packages=False,
        python_requirements=locked_requirements(extras),
    )


def locked_requirements(extras: Collection[str]) -> str:
    """The lock files of serving and of these extras merged into one, without duplicates."""
    names = ["serving", *(f"serving-{extra}" for extra in sorted(extras))]
    texts = [(REQUIREMENTS / f"{name}.lock").read_text(encoding="utf-8") for name in names]
    packages = [package for text in texts for package in re.split(r"\n(?=\S)", text.strip())]
    return "\n".join(dict.fromkeys(packages)) + "\n"
