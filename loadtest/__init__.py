"""What a running service can bear, and whether it still answers right while it bears it."""
