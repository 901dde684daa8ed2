"""The loop: train, mine, label and merge, round by round."""
