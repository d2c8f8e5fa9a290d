"""Flightline: the platform's Python code. Layers: stages → adapters → core, never back."""
