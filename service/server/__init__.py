"""The server process: its start, shutdown, connections, HTTP protocol and supervisor, and hooks into libraries."""
