"""Networks: small built-in ones that need no download, and pretrained ones by id or path."""
