"""Drift: how the rows and predictions of now differ from those at training."""
