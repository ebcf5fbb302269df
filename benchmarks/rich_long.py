"""The study `rich` with more tracks and a longer training than a demo has time for.

    python benchmarks/rich_long.py runs/rich-long [--rows 8000000] [--steps 44000] [--student-steps 40000]

Writes the study with these numbers, and with requirements that a demo's budget does not reach, into the folder, and
runs it there; the same command goes on where an interrupted one stopped. Budgets are in steps, so the result does not
depend on how busy the machine is. `rich_default.py` judges the outcome on as many tracks as asked for.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import yaml

from common import describe
from parhelion.config import load_study

REQUIREMENTS = [
    {"metric": "classifier", "max": 0.507},
    {"metric": "auc_map", "quantity": "mean", "max": 0.02},
    {"metric": "efficiency", "quantity": "mean", "max": 0.02},
    {"metric": "structure", "on": "exact equalities", "quantity": "differing", "max": 0},
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", type=int, default=8_000_000, help="simulated for the training, background included")
    parser.add_argument("--test-rows", type=int, default=400_000, help="of which three fifths are true signal")
    parser.add_argument("--steps", type=int, default=44_000)
    parser.add_argument("--student-steps", type=int, default=40_000)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    study = dict(load_study("rich").document.data)
    study["seed"] = args.seed
    study["data"]["train"]["rows"], study["data"]["test"]["rows"] = args.rows, args.test_rows
    for section, steps in ((study, args.steps), (study["student"], args.student_steps)):
        del section["training"]["seconds"]
        section["training"]["steps"] = steps
    study["requirements"] = REQUIREMENTS
    study["student_requirements"] = [{"metric": "classifier", "max": 0.52}, REQUIREMENTS[-1]]
    args.folder.mkdir(parents=True, exist_ok=True)
    file = args.folder / "rich-long.yaml"
    file.write_text(yaml.safe_dump(study, sort_keys=False), encoding="utf-8")
    print(describe(seed=args.seed, rows=args.rows, steps=args.steps, student_steps=args.student_steps), flush=True)
    command = [sys.executable, "-m", "parhelion", "run", str(file), "--out", str(args.folder / "run"), "--resume"]
    sys.exit(subprocess.run(command, check=False).returncode)


if __name__ == "__main__":
    main()
