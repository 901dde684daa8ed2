"""Files that jobs write: folders, shards, and where an unfinished run keeps its own."""
