"""Serves models over HTTP and gRPC in a BentoML service."""
