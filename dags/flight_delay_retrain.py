"""
Flight delay: train a candidate, judge it on the holdout, release it if it passes.

- **Makes**: an MLflow run, a registered version with verdicts, and alias `champion` (the first
  model) or `canary`; a candidate that does not pass keeps its tags and `promote_candidate` is
  skipped.
- **Owner**: flight-ops. **Impact**: tier 3: the model grows old.
- **A rerun** with the same data, code and spec finds the finished run again.
- **Schedule**: monthly, by an event of the asset `flight_delay__retrain_requested` (its extra may
  say `as_of`), or by hand. Ships paused.
- **When it fails**: the task's log ends with what was seen, what was expected and the repair.
"""

from orchestration.builders import build_retrain

# airflow dag: without these words Airflow's safe mode skips the file
build_retrain("flight_delay", doc=__doc__)
