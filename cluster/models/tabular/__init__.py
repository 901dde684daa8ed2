"""Models of rows of features: a built-in deep and cross network."""
