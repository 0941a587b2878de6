"""The data sets in the project's repository, with their texts for the model cards."""

from dataclasses import dataclass, replace
from pathlib import Path

from models.text import did_you_mean, truncate
from training.config import DataOptions
from training.errors import UsageError

DATASETS = Path(__file__).parent / "datasets"


@dataclass(frozen=True)
class BundledTable:
    """A bundled table, with its texts for the model card."""

    file: str
    target: str
    title: str
    source: str
    licence: str
    notes: str
    test_rows: int = 0  # the first rows of the file are the official test set


BUNDLED = {
    "housing": BundledTable(
        "california_housing.csv.gz",
        "MedHouseVal",
        "California housing",
        "1990 US census block groups; Pace and Barry 1997, from StatLib",
        "no explicit data licence; redistributed by permissively licensed projects",
        "The target is the median house value in 100,000 dollars of 1990; 992 values are capped at 5.0.",
    ),
    "income": BundledTable(
        "adult.csv.gz",
        "income",
        "Adult (census income)",
        "1994 US census; Becker and Kohavi 1996, from the UCI repository",
        "CC BY 4.0 (at UCI, as far as known)",
        "Contains race and gender: examine how decisions based on this model affect people before you make them. "
        "Split: the official test rows. 52 rows are duplicates.",
        test_rows=16281,
    ),
    "penguins": BundledTable(
        "penguins.csv.gz",
        "species",
        "Palmer penguins",
        "Horst, Hill and Gorman 2020; Palmer Station LTER",
        "CC0",
        "A small table of 344 rows: the test set has 69 rows, so one bird changes the accuracy by 1.4 points.",
    ),
    "letter": BundledTable(
        "letter.csv.gz",
        "letter",
        "Letter recognition",
        "Frey and Slate 1991, from the UCI repository",
        "UCI repository; CC BY 4.0 as far as known",
        "The columns are 16 statistics of the image of a capital letter, integers from 0 to 15.",
    ),
    "diamonds": BundledTable(
        "diamonds.csv.gz",
        "price",
        "Diamonds",
        "ggplot2, Wickham 2016",
        "distributed with an MIT-licensed package; no separate data licence",
        "The price is in dollars. In 20 rows a length x, y or z is 0, which is a mistake in the table.",
    ),
}


def bundled_options(name: str, options: DataOptions | None = None) -> DataOptions:
    """The options for a bundled data set. The name, target and split in `options` take precedence.

    Raises UsageError for an unknown data set, and when its file is missing (a wheel contains none).
    """
    options = options or DataOptions()
    if name not in BUNDLED:
        hint = f"; for a file use --data {truncate(name)}" if Path(name).suffix else did_you_mean(name, BUNDLED)
        raise UsageError(f"no bundled data set {truncate(name)!r}{hint}; there are {', '.join(BUNDLED)}")
    path = DATASETS / BUNDLED[name].file
    if not path.exists():
        raise UsageError(
            f"{path} does not exist: the bundled data sets are in the project's repository, not in its wheel"
        )
    target = options.target or BUNDLED[name].target
    return replace(options, data=str(path), target=target, name=options.name or name, bundled=name)
