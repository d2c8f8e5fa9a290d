"""Few tags in MLflow, and all of them back."""

from __future__ import annotations

from ml.adapters.version_tags import pack, unpack

TAGS = {
    "as_of": "2013-06-01",
    "model.kind": "lightgbm",
    "window.holdout": "2013-05-03..2013-05-30",
    "requested_by": "a person, by hand: once",
    "release.gate.auc": "PASS",
    "release.gate.late: arrivals": "not judged",
    "release.decision": "rejected",
}


def test_what_is_packed_comes_back() -> None:
    packed = pack(TAGS, {})
    assert unpack(packed) == TAGS
    assert set(packed) == {
        *("as_of", "model.kind", "training"),
        *("release.gates", "release.decision"),
    }


def test_what_did_not_pass_is_read_first() -> None:
    assert pack(TAGS, {})["release.gates"].startswith("late: arrivals: not judged, auc")


def test_a_decision_is_written_after_the_verdicts() -> None:
    written = list(pack({"release.gate.auc": "PASS", "release.decision": "accepted"}, {}))
    assert written == ["release.gates", "release.decision"]


def test_later_tags_are_added_to_the_present_ones() -> None:
    present = pack(TAGS, {})
    later = {"release.gate.auc": "FAIL", "git.commit": "4d7fb9c"}
    assert unpack({**present, **pack(later, present)}) == {**TAGS, **later}


def test_tags_that_were_never_packed_and_garbage_are_read_too() -> None:
    assert unpack(TAGS) == TAGS
    for garbage in ("not JSON", "[1]", "7"):
        assert unpack({"training": garbage, "as_of": "now"}) == {"as_of": "now"}
