"""Where executors live."""
