"""Fast paths: they handle the common case faster than the general code and return the same bytes, or leave the case to
that code.

`fast_path` contains the interface of those that predict. `python -m loadtest bench fast` measures the time that each
saves; docs/performance.md has the table. Fast paths of one protocol are in its own module and are named `fast_*`.
"""
