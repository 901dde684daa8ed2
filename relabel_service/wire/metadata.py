"""Keys of call metadata that client and service share."""

TOKEN_KEY = "authorization"  # "Bearer <token>"
LABELER_KEY = "relabel-labeler"  # who labels, where the service has no keys
ON_BEHALF_OF_KEY = "relabel-on-behalf-of"  # for whom a frontend answers, percent-encoded UTF-8
APPLICATION_KEY = "application"  # which Serve application the proxy routes a call to
APPLICATION = "relabel"
