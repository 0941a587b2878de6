"""The commands that change and show what is served, on the store's files: no server is needed."""
