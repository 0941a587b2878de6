"""HTTP: the ASGI application, and the code that passes requests to the data plane."""
