"""Serves models: takes requests from the socket to the data plane and back, in a BentoML service."""
