"""Models of token tags: a built-in tagger and transformers token classifiers."""
