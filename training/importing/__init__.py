"""Imports Keras models that were trained elsewhere: a file and a sample of its rows become a version of the store."""
