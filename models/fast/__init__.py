"""One row answered faster than the general way, which keeps the last word."""
