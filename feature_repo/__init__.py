"""Feast definitions: one folder for each use case, store settings for each profile."""
