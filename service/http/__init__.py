"""HTTP: the ASGI application, and the way of requests to the data plane."""
