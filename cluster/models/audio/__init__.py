"""Models of sounds: a built-in ConvNet and transformers classifiers."""
