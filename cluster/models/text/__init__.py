"""Models of texts: a built-in n-gram model and transformers classifiers."""
