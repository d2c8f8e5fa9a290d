"""Pure types and functions: no I/O, no clock, no environment, no Airflow, MLflow or Feast."""
