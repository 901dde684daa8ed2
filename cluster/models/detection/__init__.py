"""Models of boxes in images: a built-in detector and transformers detectors."""
