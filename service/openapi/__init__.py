"""The OpenAPI document at /docs.json: the operations of all protocols with their errors."""
