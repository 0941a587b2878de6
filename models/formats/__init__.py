"""Table formats: bytes to blocks of rows, predictions to bytes. Used by the service and by bulk scoring."""
