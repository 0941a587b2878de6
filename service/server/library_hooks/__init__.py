"""The hooks into private parts of BentoML, uvicorn and their libraries, each with a description of its purpose."""
