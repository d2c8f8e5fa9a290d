"""What Feast knows of `low_visibility`."""
