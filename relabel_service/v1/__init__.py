"""Generated from proto/relabel_service/v1; change it there and run `make protos`."""
