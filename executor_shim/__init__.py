"""The supervisor beside the user's code."""
