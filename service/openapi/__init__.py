"""The OpenAPI document at /docs.json: the operations of every protocol, with their errors."""
