"""Training of models by folds, and what a training leaves behind."""
