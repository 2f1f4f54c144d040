"""What the engine and the store know, as the API shows it, one noun a module. Absent values are left out, never null."""
