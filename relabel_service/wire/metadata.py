"""Keys of call metadata that client and service share."""

TOKEN_KEY = "authorization"  # "Bearer <token>"
LABELER_KEY = "relabel-labeler"  # who answers, where the service has no keys
