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


def pretend(folder, *uuids, more=""):
    """An nvidia-smi in a folder that lists such GPUs, for the front of PATH."""
    folder.mkdir(exist_ok=True)
    lines = [f"GPU {i}: L4 (UUID: {uuid})\n" for i, uuid in enumerate(uuids)]
    (folder / "listed").write_text("".join(lines) + more)
    (folder / "nvidia-smi").write_text('#!/bin/sh\ncat "${0%/*}/listed"\n')
    (folder / "nvidia-smi").chmod(0o755)
    return folder


def held(folder, path, **variables):
    """A process that holds a GPU leased from `folder`, and the name it was given."""
    words = [sys.executable, "-c", HOLD, folder]
    inherited = {key: value for key, value in os.environ.items() if key != "CUDA_VISIBLE_DEVICES"}
    path = f"{path}{os.pathsep}{os.environ['PATH']}"
    environment = inherited | {"PATH": path} | variables
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=environment)
    return process, process.stdout.readline().strip()


# As torch's own reading of the variable has it.
AS_CUDA_READS_IT = [
    ("", []),
    ("-1", []),
    ("0", ["0"]),
    ("1,3", ["1", "3"]),
    (" 1 ,0", ["1", "0"]),
    ("GPU-8a,", ["GPU-8a"]),
    ("0,-1,1", ["0"]),
    ("1,,0", ["1"]),
    (",0", []),
    ("NoDevFiles", []),  # what Slurm gives a job without GPUs
    ("0,1,0", []),
    ("0,GPU-8a", ["0"]),
    ("GPU-8a,1", ["GPU-8a"]),
    ("GPU-8a,GPU-8a", []),
]


@pytest.mark.parametrize(("named", "gpus"), AS_CUDA_READS_IT)
def test_the_variable_says_which_gpus_there_are(monkeypatch, tmp_path, named, gpus):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert list(visible_gpus()) == gpus
    with gpu_lease(tmp_path) as gpu:
        assert [gpu] == (gpus[:1] or [None])


@pytest.mark.parametrize(
    ("named", "gpus"),
    [
        ("1", {"1": "GPU-8b"}),
        ("0,2,1", {"0": "GPU-8a"}),
        ("GPU-8b,GPU-9", {"GPU-8b": "GPU-8b"}),
        ("GPU-8", {}),
        ("MIG-5", {"MIG-5": "MIG-5c"}),
    ],
)
def test_what_nvidia_smi_does_not_list_is_not_there(monkeypatch, tmp_path, named, gpus):
    sliced = "  MIG 1g.10gb     Device  0: (UUID: MIG-5c)\n"
    monkeypatch.setenv("PATH", str(pretend(tmp_path, "GPU-8a", "GPU-8b", more=sliced)), os.pathsep)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
    assert visible_gpus() == gpus


def test_gpus_are_counted_by_nvidia_smi_where_the_variable_is_not_set(monkeypatch, tmp_path):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("PATH", str(pretend(tmp_path, "a", "b")), prepend=os.pathsep)
    assert visible_gpus() == {"0": "a", "1": "b"}
    monkeypatch.setenv("PATH", "")
    assert visible_gpus() == {}


@pytest.mark.parametrize("visible", [{}, {"CUDA_VISIBLE_DEVICES": "0,1"}])
def test_jobs_inside_a_slurm_allocation_get_a_gpu_each(tmp_path, visible):
    two = pretend(tmp_path / "two", "GPU-8a", "GPU-8b")
    first, one = held(tmp_path, two, SLURM_JOB_ID="7", **visible)
    second, other = held(tmp_path, two, SLURM_JOB_ID="7", **visible)
    with first, second:
        first.kill()
        second.kill()
    assert sorted([one, other]) == ["0", "1"]


def test_the_first_gpu_of_two_slurm_jobs_need_not_be_one_gpu(tmp_path):
    first, one = held(tmp_path, pretend(tmp_path / "a", "GPU-8a"), SLURM_JOB_ID="7")
    second, other = held(tmp_path, pretend(tmp_path / "b", "GPU-8b"), SLURM_JOB_ID="8")
    with first, second:
        first.kill()
        second.kill()
    assert [one, other] == ["0", "0"]
    assert sorted(path.name for path in tmp_path.glob("gpu-*")) == ["gpu-GPU-8a", "gpu-GPU-8b"]


def test_a_gpu_is_the_same_one_by_its_index_and_by_its_uuid(tmp_path, monkeypatch):
    two = pretend(tmp_path / "two", "GPU-8a", "GPU-8b")
    holder, name = held(tmp_path, two, CUDA_VISIBLE_DEVICES="GPU-8a")
    monkeypatch.setenv("PATH", str(two), prepend=os.pathsep)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    with holder, gpu_lease(tmp_path) as free:
        holder.kill()
    assert (name, free) == ("GPU-8a", "1")


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
