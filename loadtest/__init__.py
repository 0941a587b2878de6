"""Load tests of a running server, and benchmarks of its parts."""
