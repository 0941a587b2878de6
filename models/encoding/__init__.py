"""Feature encoding: from validated rows to the input matrix of a network."""
