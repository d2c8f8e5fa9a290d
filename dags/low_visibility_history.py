"""Low visibility: a range of days in one go."""

from orchestration.builders import build_history

# airflow dag: without these words Airflow's safe mode skips the file
build_history("low_visibility")
