"""Reads tables that are too large for memory in batches, and stores them in temporary files column by column."""
