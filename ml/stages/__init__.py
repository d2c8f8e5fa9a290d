"""The steps of the chain: each takes a platform and plain values and returns a small result."""
