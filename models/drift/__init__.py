"""Drift: how current rows and predictions differ from those in training."""
