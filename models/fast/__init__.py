"""Fast paths: the common case answered faster than the general way, with the same bytes or not at all.

`fast_path` is the protocol of those that predict. `python -m loadtest bench fast` measures what each saves;
docs/performance.md has the table. Fast paths of one protocol stand beside its general way and are named `fast_*`.
"""
