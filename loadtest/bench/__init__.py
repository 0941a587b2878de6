"""Benchmarks: each compares a part of tabserve with alternatives and reports ratios within one run."""
