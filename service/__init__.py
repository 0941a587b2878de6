"""How models are served: the data plane, the short path from the socket to it, and the BentoML service around both."""
