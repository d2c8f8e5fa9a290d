"""Digits: train a candidate, judge it on the holdout, release it if it passes."""

from orchestration.builders import build_retrain

# airflow dag: without these words Airflow's safe mode skips the file
build_retrain("digits")
