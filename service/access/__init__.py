"""API keys: the file of keys, the check of each request, rates over all workers, and other origins in browsers."""
