"""What experiment and registered model say of themselves in MLflow: Markdown, from the spec.

Lists show the first sentence as it stands, so it is plain.
"""

from __future__ import annotations

from ml.core.names import CANARY, CHAMPION, PREVIOUS
from ml.core.plans import Criterion
from ml.core.spec import UseCase


def experiment_notes(spec: UseCase) -> str:
    """Of the experiment: what is predicted, how runs are named, what is worth opening."""
    lead = spec.description
    criteria = "\n".join(f"- `{c.gate}`: {_bound(c)}" for c in spec.gates.criteria)
    return f"""{lead}

**Owner** {spec.owner} · **data** {spec.coverage.first} to {spec.coverage.last} · \
**feature service** `{spec.features.service}` · [contact]({spec.contact})

| run | what it is |
|---|---|
| `train-…` | a candidate: registered, judged on the holdout by `flightline validate` |
| `trial-…` | somebody's experiment: never registered |
| `trial-00` … below a run | one point of its search |

`select/…` is measured on the select window, by which the model was chosen; `holdout/…` on data \
that it never saw, and only there does it have to pass:

{criteria}

**Saved views** (button above the table): *Candidates* with their holdout metrics, *Search* with \
the trials' parameters.
"""


def _bound(criterion: Criterion) -> str:
    words = {"minimum": "at least", "maximum": "at most", "too_good": "not beyond"}
    field = next(field for field in words if getattr(criterion, field) is not None)
    return f"{criterion.metric.replace('_', ' ')} {words[field]} {criterion.bound:g}"


def model_notes(spec: UseCase) -> str:
    """Of the registered model: how to load one, and what aliases and tags mean."""
    # Short: the table of versions stands below it, and no part of a description can be folded.
    name = spec.names.registered_model
    return f"""{spec.title}: the models that were trained, judged and released.

```python
import mlflow
mlflow.set_tracking_uri("http://...")  # the address of this page, up to the port
model = mlflow.pyfunc.load_model("models:/{name}@{CHAMPION}")
```

**Aliases** `{CHAMPION}` answers, `{CANARY}` answers a share of the keys beside it, `{PREVIOUS}` \
can be put back (`flightline rollback {spec.slug}`). `flightline promote` sets them; one that is \
moved by hand changes nothing that serves.

**Tags** `release.decision` is the verdict on a version, `release.gates` that of each gate, \
`release.status` and `release.traffic_pct` what it serves now; the run holds the evidence.
"""
