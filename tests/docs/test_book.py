import re
from pathlib import Path
from typing import Any

import pytest
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

ROOT = Path(__file__).parents[2]
BOOK = ROOT / "docs" / "neural-networks-from-scratch.md"


# NumPy 2.4 warns about how Keras's set_weights and predict convert variables (TensorFlow 2.21)
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_every_block_of_the_book_runs_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)  # readers run the blocks in this folder
    text = BOOK.read_text()
    namespace: dict[str, Any] = {}
    blocks = list(re.finditer(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE))
    assert len(blocks) > 20
    for block in blocks:
        lines_before = text[: block.start(1)].count("\n")
        code = compile("\n" * lines_before + block[1], str(BOOK), "exec")  # so that an error names the line of the book
        with threadpool_limits(1, "blas"):  # threads would slow down small matrix products; see training.fit_numpy
            exec(code, namespace)


def test_every_picture_of_the_book_exists() -> None:
    pictures = re.findall(r"!\[.*?\]\((.*?)\)", BOOK.read_text())
    assert len(pictures) >= 4
    assert {BOOK.parent / picture for picture in pictures} <= set(BOOK.parent.glob("pictures/*.png"))


def test_every_link_inside_the_book_leads_to_a_heading() -> None:
    text = BOOK.read_text()
    headings = {
        re.sub(r"[^a-z0-9 -]", "", line.lower()).replace(" ", "-") for line in re.findall(r"^## (.*)$", text, re.M)
    }
    assert set(re.findall(r"\]\(#(.*?)\)", text)) <= headings
