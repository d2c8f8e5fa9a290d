"""CO2 trend: one week from the source to predictions."""

from orchestration.builders import build_partition

# airflow dag: without these words Airflow's safe mode skips the file
build_partition("co2_trend")
