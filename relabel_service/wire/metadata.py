"""Keys of call metadata that client and service share."""

TOKEN_KEY = "authorization"  # "Bearer <token>"
LABELER_KEY = "relabel-labeler"  # who labels, where the service has no keys
APPLICATION_KEY = "application"  # which Serve application the proxy routes a call to
APPLICATION = "relabel"
