"""What lies between the parts of a study: links, locks, notes, shared folders and their names."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from small_study import environment, ppm, write_study

from ppmlib.record import records
from ppmlib.workflow import launch


@pytest.fixture
def copied(finished, tmp_path) -> Path:
    """A copy of the finished study of a local model, hidden files included."""
    shutil.copytree(finished, tmp_path / "copy", symlinks=True)
    link = tmp_path / "copy/reports/small/.models/my-model"
    link.unlink()
    link.symlink_to(tmp_path / "copy/my-model")
    return tmp_path / "copy"


def run_notebook(root: Path, key: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "ppmlib.workflow.run_notebook", key]
    return subprocess.run(command, cwd=root, check=False, env=environment())


# --- a model that is replaced while its study runs


@pytest.mark.parametrize("command", [["run"], ["export", "--ratio", "0.5", "--out", "narrow"]])
def test_a_command_that_is_refused_gives_a_running_study_no_other_model(copied, command):
    root = copied / "reports/small"
    (copied / "other").mkdir()
    shutil.copytree(copied / "my-model", copied / "other/my-model")
    shutil.copy(copied / "small.yaml", copied / "other/small.yaml")
    verb, *options = command
    with launch.only_run(root):
        done = ppm(verb, "other/small.yaml", *options, cwd=copied)
    assert done.returncode == 3 and "another ppm run is working" in done.stderr
    assert (root / ".models/my-model").resolve() == copied / "my-model"


def test_a_record_made_from_another_model_than_the_planned_one_does_not_count(copied):
    root = copied / "reports/small"
    plan = json.loads((root / "study.json").read_text())
    plan["jobs"]["1_scoring"]["static"]["weights_sha256"] = "0" * 64
    (root / "study.json").write_text(json.dumps(plan))
    assert run_notebook(root, "1_scoring").returncode == 1
    assert not records.record_path(root, "1_scoring").exists()
    note = records.read_json(records.failure_path(root, "1_scoring"))
    assert "(weights_sha256): the model or score file was replaced meanwhile" in note["error"]
