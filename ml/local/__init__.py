"""The local platform: Airflow and MLflow as background processes on one machine."""
