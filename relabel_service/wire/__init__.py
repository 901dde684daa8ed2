"""Values, metadata and errors as they go over gRPC."""
