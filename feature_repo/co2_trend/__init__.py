"""What Feast knows of `co2_trend`."""
