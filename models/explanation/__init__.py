"""Explanations: Shapley values of a prediction over the columns of its row."""
