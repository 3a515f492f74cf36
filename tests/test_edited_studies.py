"""The script that edits a study file over finished records, run for two edits."""

import json
import subprocess
import sys
from pathlib import Path

from small_study import environment

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "edit_studies.py"


def test_a_run_of_an_edited_study_ends_with_the_records_of_a_fresh_run(tmp_path):
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--edits", "2", "--seed", "9"],
        capture_output=True,
        text=True,
        env={**environment(), "TMPDIR": str(tmp_path)},
        timeout=900,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    *lines, summary = done.stdout.splitlines()
    assert len(lines) == 2 and all(line.endswith(": equal") for line in lines)
    assert json.loads(summary)["wrong"] == 0
