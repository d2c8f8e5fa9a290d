"""What Feast knows of `flight_delay`."""
