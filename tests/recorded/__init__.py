"""Recorded requests: the responses before a restructuring are compared with the current ones.

`cases/` lists requests through every protocol, `store/` holds the small models that answer them, `answers.jsonl` holds
the recorded answers, one a line, and `test_recorded.py` sends every request to the current code and compares. Bodies
are equal if their texts are equal and their predictions are equal by docs/reference/models.md ("Equal predictions").

The answers were recorded with commit a9ab621, and reworded messages were updated since. They are what clients get, so a
difference is an error in the code.

- An answer that changes on purpose: name the request in `changes.py` with the reason, then write its new answer with
  `python -m tests.recorded.record --changed`. `answers.jsonl` is not changed, so the change can be seen in review.
- A message with a new wording: `python -m tests.recorded.record --reworded` updates the answers in which nothing but
  the texts of messages has changed, and names all others that differ.
- A new request: add it to `cases/`, then record it alone, from a checkout whose answers are correct:
  `python -m tests.recorded.record --missing [--checkout PATH]`. Recorded answers are not touched.
- All requests again (`python -m tests.recorded.record --all`): only if the models of `store/` were created again, or if
an upgrade of a library changed texts that are not ours; then read the difference of `answers.jsonl` line by line. Never
to make a failing test pass.

Some answers contain texts of Python, NumPy, pyarrow and pydantic: they were recorded with the locked versions.
"""
