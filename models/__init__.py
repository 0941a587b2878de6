"""What a model is: its schema, its encoding, its network, its answers, and how a version is kept in the store."""
