"""Shared Airflow code: the only place outside the Dag files that imports Airflow."""
