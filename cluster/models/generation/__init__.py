"""Models that write text: a built-in GRU and transformers encoder-decoders."""
