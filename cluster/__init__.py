"""What runs on Ray workers: data in, training, inference, disagreement, ranking, merge.

Imports relabel_service, never jobs. Settings arrive as frozen dataclasses; nothing
here reads flags.
"""
