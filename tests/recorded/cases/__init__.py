"""The recorded requests, one module per protocol."""
