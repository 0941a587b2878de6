"""Table formats: decoders of bytes to blocks of rows, and encoders of predictions. The service and bulk scoring use
them."""
