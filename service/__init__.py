"""How models are served: requests from the socket to the data plane and back, inside a BentoML service."""
