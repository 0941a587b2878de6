"""Hooks into BentoML and uvicorn internals, each with what breaks without it."""
