"""The service: the Serve application, its RPCs, access and limits."""
