"""The hooks into private parts of BentoML, uvicorn and their libraries, each with what breaks without it."""
