"""The use cases: the only code that moves a run."""
