"""CO2 trend: a range of weeks in one go."""

from orchestration.builders import build_history

# airflow dag: without these words Airflow's safe mode skips the file
build_history("co2_trend")
