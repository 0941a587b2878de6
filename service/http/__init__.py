"""HTTP: from ASGI requests to the data plane and back."""
