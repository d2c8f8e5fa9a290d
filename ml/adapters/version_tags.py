"""Tags of a version as MLflow keeps them: few, because its table of versions shows all of them.

What a version repeats of its run is one tag, and so are the verdicts of its gates: with a line for
each of two dozen tags, one version fills the page, and nobody sees which one is good.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

GATE = "release.gate."
_GATES, _TRAINING = "release.gates", "training"
_SHOWN = ("as_of", "model.kind")


def pack(tags: Mapping[str, str], present: Mapping[str, str]) -> dict[str, str]:
    """What has to be written so that `unpack` gives these tags beside the present ones.

    They are written in this order: the gates' verdicts before a decision that rests on them.

    >>> gates = {"release.gate.auc": "PASS", "release.gate.cost": "FAIL"}
    >>> pack(gates | {"as_of": "2013-06-01"}, {})
    {'release.gates': 'cost: FAIL, auc: PASS', 'as_of': '2013-06-01'}
    """
    gates = {name: value for name, value in tags.items() if name.startswith(GATE)}
    training = {
        name: value
        for name, value in tags.items()
        if name not in _SHOWN and not name.startswith("release.")
    }
    packed: dict[str, str] = {}
    if gates:
        verdicts = {**_verdicts(present), **gates}
        worst_first = sorted(verdicts, key=lambda name: verdicts[name] == "PASS")  # lists cut it
        told = [f"{name.removeprefix(GATE)}: {verdicts[name]}" for name in worst_first]
        packed[_GATES] = ", ".join(told)
    packed |= {name: value for name, value in tags.items() if name not in {*gates, *training}}
    if training:
        packed[_TRAINING] = json.dumps({**_training(present), **training})
    return packed


def unpack(found: Mapping[str, str]) -> dict[str, str]:
    """The tags behind what MLflow keeps.

    >>> unpack({"release.gates": "auc: PASS", "training": '{"git.commit": "4d7fb9c"}'})
    {'git.commit': '4d7fb9c', 'release.gate.auc': 'PASS'}
    """
    rest = {name: value for name, value in found.items() if name not in (_GATES, _TRAINING)}
    return {**_training(found), **_verdicts(found), **rest}


def _training(found: Mapping[str, str]) -> dict[str, str]:
    try:
        read = json.loads(found.get(_TRAINING, "{}"))
    except ValueError:  # edited by hand: such a version has none of these tags
        return {}
    return {name: str(value) for name, value in read.items()} if isinstance(read, dict) else {}


def _verdicts(found: Mapping[str, str]) -> dict[str, str]:
    told = filter(None, found.get(_GATES, "").split(", "))
    pairs = (entry.rpartition(": ") for entry in told)
    return {f"{GATE}{name}": verdict for name, _, verdict in pairs}
