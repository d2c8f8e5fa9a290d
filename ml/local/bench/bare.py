"""`python -m ml.local.bench.bare SLUG`: the story in one process; a line of JSON for each stage."""

from __future__ import annotations

import json
import sys

from ml.core.story import story
from ml.stages.chain import run_step
from ml.use_cases import load_spec


def main(slug: str) -> None:
    for step in story(load_spec(slug)):
        for ran in run_step(slug, step):
            print(json.dumps(ran.to_plain()))


if __name__ == "__main__":
    main(sys.argv[1])
