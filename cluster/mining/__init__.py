"""From a trained model to findings: score every row, rank, write the worst."""
