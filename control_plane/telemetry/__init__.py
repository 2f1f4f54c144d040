"""What runs told."""
