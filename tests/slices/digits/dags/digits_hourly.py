"""Digits: one hour from the scanner to predictions."""

from orchestration.builders import build_partition

# airflow dag: without these words Airflow's safe mode skips the file
build_partition("digits")
