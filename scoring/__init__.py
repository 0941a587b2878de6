"""Bulk scoring: predictions for files of any size, on this machine or on a cluster."""
