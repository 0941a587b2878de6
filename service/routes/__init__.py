"""Addresses of the protocols: how a request of each is answered by the data plane, in that protocol's own words."""
