"""One ratio made to fail in each stage: what stands, what is printed, the exit status."""

import json
import shutil

import pytest
from small_study import ppm, write_local_study

from ppmlib.record import records

KEYS = ["dense/r0.00", "ppm/r0.20", "ppm/r0.50"]


def told(run) -> list[str]:
    """The lines about failed notebooks; nothing else alarming may be printed."""
    print(run.stderr)
    assert "Traceback" not in run.stderr + run.stdout
    return [line for line in run.stderr.splitlines() if line.startswith("FAILED")]


def standing(root, stage) -> set[str]:
    return {key.rpartition("/")[0] for key in records.read_stage(root, stage)}


def test_each_stage_may_fail_and_the_rest_stands(tmp_path):
    study = write_local_study(tmp_path, pruning_ratios=[0.2, 0.5])
    root = tmp_path / "reports" / "small"
    # Where one width's indices and another's outcomes go, something is in the way.
    in_the_way = [root / "records/ppm/r0.20/keep.safetensors/x", root / "samples/ppm/r0.50"]
    for path in in_the_way:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("in the way")

    failed = ppm("run", study, cwd=tmp_path)
    assert failed.returncode == 1
    analysis, pruning, evaluation = sorted(told(failed))
    assert analysis.startswith("FAILED 5_analysis: cell ")
    assert "ppm/r0.50: pruned but not evaluated" in analysis
    assert str(tmp_path) not in analysis + pruning + evaluation
    assert pruning.startswith("FAILED ppm/r0.20/2_pruning: cell ")
    assert evaluation.startswith("FAILED ppm/r0.50/3_evaluation: cell ")
    assert evaluation.endswith("(see ppm/r0.50/3_evaluation.failed.html)")
    assert standing(root, "2_pruning") == {"dense/r0.00", "ppm/r0.50"}
    assert standing(root, "3_evaluation") == {"dense/r0.00"}
    assert (root / "ppm/r0.50/3_evaluation.ipynb").exists()
    status = ppm("status", study, cwd=tmp_path)
    assert status.returncode == 1
    assert "failed   ppm/r0.50/3_evaluation: " in status.stdout
    assert "missing  ppm/r0.20/3_evaluation" in status.stdout
    assert "missing  ppm/4_profiling" in status.stdout
    page = (root / "index.html").read_text()
    assert "ppm/r0.20" in page and "ppm/r0.50" in page

    shutil.rmtree(in_the_way[0].parent)
    in_the_way[1].unlink()
    blocked = root / "tables" / "verdicts.csv" / "x"
    blocked.parent.mkdir()
    blocked.write_text("in the way")
    failed = ppm("run", study, cwd=tmp_path)
    (analysis,) = told(failed)
    assert failed.returncode == 1 and analysis.startswith("FAILED 5_analysis: cell ")
    assert standing(root, "3_evaluation") == set(KEYS)
    assert standing(root, "4_profiling") == {"ppm"}
    assert (root / "index.html").exists()

    shutil.rmtree(blocked.parent)
    figure = root / min(records.read(root, "ppm/4_profiling")["files"])
    (root / "records/ppm/4_profiling.json").unlink()
    figure.unlink()
    (figure / "x").mkdir(parents=True)
    failed = ppm("run", study, cwd=tmp_path)
    assert failed.returncode == 1
    assert told(failed)[0].startswith("FAILED ppm/4_profiling: cell ")

    shutil.rmtree(figure)
    kept = root / "records/ppm/r0.50/keep.safetensors"
    kept.write_bytes(kept.read_bytes()[:-1] + b"?")
    done = ppm("run", study, cwd=tmp_path)
    assert done.returncode == 0 and not told(done)
    assert "ppm/r0.50/2_pruning is run again: its record cannot be used: " in done.stderr
    assert ppm("verify", root, cwd=tmp_path).returncode == 0


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("return gate", "expected a tensor of 256 values, got (256, 64)"),
        pytest.param(
            "return gate[:, 0] * float('nan')",
            "a score is not finite",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_custom_score_that_is_no_score_is_one_line(tmp_path, body, expected):
    (tmp_path / "mine.py").write_text(f"def score(gate, up, down):\n    {body}\n")
    study = write_local_study(tmp_path, criterion="mine.py:score")
    failed = ppm("run", study, cwd=tmp_path)
    assert failed.returncode == 1
    (line,) = [line for line in told(failed) if "1_scoring" in line]
    assert line.startswith("FAILED 1_scoring: cell ") and expected in line
    assert str(tmp_path) not in line
    plan = json.loads((tmp_path / "reports/small/study.json").read_text())
    assert str(tmp_path) not in json.dumps(plan)
    assert not records.read_stage(tmp_path / "reports/small", "2_pruning")
