"""Other servers of the same small network, each in a separate environment (`make peer-NAME`)."""
