"""Sojourn's public face: what a developer imports to write and trigger tasks."""
