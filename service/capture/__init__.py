"""Capture: sampled rows with their predictions as Parquet files."""
