"""Wire formats as pure functions between bytes and rows: no HTTP server, no BentoML."""
