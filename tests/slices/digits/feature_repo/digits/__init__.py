"""What Feast knows of `digits`."""
