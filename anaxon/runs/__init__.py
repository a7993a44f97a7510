"""Jobs of the command line: what `anaxon run CONFIG` does."""
