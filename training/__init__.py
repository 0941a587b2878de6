"""Training: reads a table, infers its columns, splits it, fits and evaluates a network, and stores a version."""
