"""Models: schema, feature encoding, network, outputs, table formats and the store of versions."""
