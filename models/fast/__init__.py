"""Fast paths: they handle the common case faster than the general code, with the same bytes, or leave it to that code.

`fast_path` is the protocol of those that predict. `python -m loadtest bench fast` measures what each saves;
docs/performance.md has the table. Fast paths of one protocol are in its own module and named `fast_*`.
"""
