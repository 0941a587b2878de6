"""The server process: its start, shutdown, connections, HTTP protocol and supervisor, by hooks into libraries."""
