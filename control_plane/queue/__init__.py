"""Redis: an index of the truth."""
