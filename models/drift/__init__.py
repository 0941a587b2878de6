"""Drift: how current rows and predictions differ from those at training."""
