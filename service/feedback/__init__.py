"""Feedback: the truth about predictions, and the live metrics that are computed from it."""
