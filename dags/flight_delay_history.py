"""
Flight delay: a range of service dates in one go.

- **Makes**: the same as `flight_delay_daily`, for all dates from `first` to `last`, both included.
- **Owner**: flight-ops. **Impact**: tier 4: nobody waits for it.
- **A rerun** replaces the same partitions with the same data.
- **Schedule**: by hand, with the two parameters.
- **When it fails**: the task's log ends with what was seen, what was expected and the repair.
"""

from orchestration.builders import build_history

# airflow dag: without these words Airflow's safe mode skips the file
build_history("flight_delay", doc=__doc__)
