"""The wire formats of the protocols: pure functions between bytes and rows, without a server."""
