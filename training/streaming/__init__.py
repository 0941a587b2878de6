"""Tables that are too large for memory: read in batches, kept in temporary files column by column."""
