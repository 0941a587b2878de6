"""Other servers of the same small network, each in an environment of its own (`make peer-NAME`)."""
