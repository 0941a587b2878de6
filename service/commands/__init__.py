"""The commands that change and show the served versions. They work on the files of the store, without a server."""
