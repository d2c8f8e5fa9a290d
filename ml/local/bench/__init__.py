"""What the platform costs, as ratios that travel between machines: `make bench`.

Each part compares with the plain way to the same result, side by side in one run.
"""
