"""The language check finds words of the old dialect in prose and messages, and not in code."""

from pathlib import Path

import pytest

from tests import language_check


@pytest.mark.parametrize(
    "text",
    [
        "TABSERVE_X is no setting",
        "All errors are told at once",
        "what a server bears",
        "the short way",
        "one verdict",
        "shared memory is not spoken",
        "requests are answered for so many seconds",
        "requests under way",
        "the digest goes before the tag",
        "read but for the last row",
    ],
)
def test_dialect_is_refused_with_a_replacement(text: str) -> None:
    (line,) = language_check.refused(language_check.ROOT / "page.md", 3, text)
    assert line.startswith("page.md:3: ")
    assert "; write: " in line


@pytest.mark.parametrize(
    "text",
    [
        "there is no model",
        "it is no longer used",
        "the result is no better",
        "a bearer token",
        "it stands in for the engine",
    ],
)
def test_plain_english_passes(text: str) -> None:
    assert list(language_check.refused(language_check.ROOT / "page.md", 1, text)) == []


def test_code_in_pages_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(language_check, "ROOT", tmp_path)
    monkeypatch.setattr(language_check, "PAGES", ("page.md",))
    (tmp_path / "page.md").write_text("the `verdict` label\n```\nis no code\n```\nit is no page\n", "utf-8")
    found = [
        number for path, number, text in language_check.pages() for _ in language_check.refused(path, number, text)
    ]
    assert found == [5]
