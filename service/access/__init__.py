"""API keys: the file of keys, the check of each request, and the rates over all workers."""
