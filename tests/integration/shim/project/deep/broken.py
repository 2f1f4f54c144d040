"""Cannot be imported."""

print("about to break")
raise RuntimeError("broken on purpose")
