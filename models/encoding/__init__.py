"""From checked rows to the matrix that a network reads."""
