"""The loops that keep runs moving, and the placement of executors."""
