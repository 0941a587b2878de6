"""Feature encoding: from validated rows to the matrix that a network takes."""
