"""The routes of each protocol: each route handles the requests to one path."""
