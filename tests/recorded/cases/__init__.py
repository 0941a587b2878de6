"""The recorded requests, a file for each protocol."""
