"""Models of images: a built-in ConvNet and transformers classifiers."""
