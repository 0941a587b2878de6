"""A regression test with recorded requests: current responses are compared with the responses of an earlier commit.

`cases/` defines requests in every protocol, `store/` contains the small models that answer them, and `answers.jsonl`
contains the recorded responses, one per line. `test_recorded.py` sends every request to the current code and compares
the responses. Bodies are equal if their texts are identical and their predictions are equal as docs/reference/models.md
defines under "Equal predictions".

The responses were recorded with commit a9ab621; messages with a new wording were updated later. A difference means that
clients get a different response than before, so it is an error in the code.

- An intended change of a response: declare the request and the reason in `changes.py`, then record the new response
  with `python -m tests.recorded.record --changed`. `answers.jsonl` stays unchanged, so that a review shows the change.
- A message with a new wording: `python -m tests.recorded.record --reworded` updates the responses in which only
  message texts have changed, and lists all other responses that differ.
- A new request: add it to `cases/`, then record its response from a checkout with correct responses:
  `python -m tests.recorded.record --missing [--checkout PATH]`. Existing recorded responses stay unchanged.
- All requests: `python -m tests.recorded.record --all` records them again. Use this only if the models of `store/` were
  created again, or if an upgrade of a library changed the library's own messages. Then review the diff of
  `answers.jsonl` line by line. Never record again to make a failing test pass.

Some responses contain messages of Python, NumPy, pyarrow and pydantic, recorded with the locked versions.
"""
