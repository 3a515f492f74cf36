"""GPUs of one machine: no two jobs on one at once, which is what memory and timings rely on."""

import json
import os
import shutil
import subprocess
import sys
import threading
from datetime import datetime

import pytest
from small_study import command, environment

from ppmlib.workflow.gpus import gpu_lease, visible_gpus

HOLD = """
import sys, time
from pathlib import Path
from ppmlib.workflow.gpus import gpu_lease
with gpu_lease(Path(sys.argv[1])) as gpu:
    print(gpu, flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize(
    ("named", "gpus"),
    [("", []), ("-1", []), ("0", ["0"]), ("1,3", ["1", "3"]), ("GPU-8a,", ["GPU-8a"])],
)
def test_the_variable_says_which_gpus_there_are(monkeypatch, named, gpus):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
    assert visible_gpus() == gpus


def test_gpus_are_counted_by_nvidia_smi_where_the_variable_is_not_set(monkeypatch, tmp_path):
    fake = tmp_path / "nvidia-smi"
    fake.write_text("#!/bin/sh\necho 'GPU 0: L4 (UUID: a)'\necho 'GPU 1: L4 (UUID: b)'\n")
    fake.chmod(0o755)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert visible_gpus() == ["0", "1"]
    monkeypatch.setenv("PATH", "")
    assert visible_gpus() == []


def test_a_job_waits_for_the_only_gpu_until_its_holder_is_gone_even_if_killed(
    tmp_path, monkeypatch
):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    has_it = threading.Event()

    def wait() -> None:
        with gpu_lease(tmp_path):
            has_it.set()

    words = [sys.executable, "-c", HOLD, tmp_path]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "0\n"
        waiting = threading.Thread(target=wait)
        waiting.start()
        assert not has_it.wait(1.0)
        holder.kill()
        assert has_it.wait(10.0)
        waiting.join()


def test_on_a_machine_with_one_gpu_evaluations_run_one_after_another(finished, tmp_path):
    folder = shutil.copytree(finished, tmp_path / "study", symlinks=True)
    root = folder / "reports" / "small"
    evaluations = [path for path in root.glob("records/*/*/3_evaluation.json")]
    shutil.rmtree(root / "samples")
    for path in evaluations:
        path.unlink()
    done = subprocess.run(
        command("run", "small.yaml", "--cores", "2"),
        cwd=folder,
        env={**environment(), "CUDA_VISIBLE_DEVICES": "0"},
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert done.returncode == 0, done.stderr
    spans = []
    for path in evaluations:
        executed = root / path.parent.relative_to(root / "records") / "3_evaluation.ipynb"
        ran = json.loads(executed.read_text())["metadata"]["papermill"]
        spans.append([datetime.fromisoformat(ran[name]) for name in ("start_time", "end_time")])
    (_, first_ended), (second_began, _) = sorted(spans)
    assert second_began >= first_ended
