"""Files that jobs write: folders, shards, and the folder of intermediate files of a run."""
