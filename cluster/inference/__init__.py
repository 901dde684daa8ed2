"""Predictions of trained models, metrics on test tables, and embeddings."""
