"""The real stack on one machine."""
