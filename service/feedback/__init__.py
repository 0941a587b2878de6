"""Feedback: the truth about predictions, and the live metrics that follow from it."""
