"""`ppm run` killed, told to stop, or started twice: what is left goes on to the same numbers."""

import functools
import os
import signal
import subprocess
import time

import kill_and_resume as kills
import pytest
from small_study import command, environment, ppm, write_local_study


def start(folder) -> subprocess.Popen:
    return subprocess.Popen(
        command("run", "small.yaml"),
        cwd=folder,
        env=environment(),
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for_kernel(folder) -> None:
    deadline = time.monotonic() + 60
    while not kills.kernels_in(folder):
        assert time.monotonic() < deadline, "no kernel came up"
        time.sleep(0.05)


def stop(folder, signum) -> str:
    """Start or resume the study, send a signal when a kernel works; what was printed."""
    run = start(folder)
    wait_for_kernel(folder)
    run.send_signal(signum)
    _, told = run.communicate(timeout=60)
    print(told)
    assert run.returncode == 4
    assert "Traceback" not in told
    last = f"ppm: stopped by {signum.name}; run the same command to continue"
    assert told.splitlines()[-1] == last
    assert kills.wait_until_idle(folder) is not None
    return told


def test_a_study_stopped_and_killed_goes_on_to_the_same_numbers(finished, tmp_path):
    write_local_study(tmp_path)
    root = tmp_path / "reports" / "small"
    assert "STOPPED 1_scoring: " in stop(tmp_path, signal.SIGTERM)
    status = ppm("status", "small.yaml", cwd=tmp_path)
    assert status.returncode == 1 and "stopped  1_scoring: stopped by" in status.stdout
    landmarks = {"engine": root / "records/1_scoring.json", "kernel": root / "samples"}
    for what, landmark in landmarks.items():
        outcome, idle_s = kills.kill_one(
            functools.partial(start, tmp_path), tmp_path, what, landmark.exists
        )
        assert outcome == "killed"
        assert idle_s is not None, "a process goes on computing"
    (root / "records" / ".noise.json.a1b2c3d4.tmp").write_bytes(b"{")  # as a kill may leave it
    assert ppm("run", "small.yaml", cwd=tmp_path).returncode == 0
    assert kills.unsound(root, kills.numbers(finished / "reports" / "small")) == ""


def test_a_signal_before_the_first_notebook_is_told_like_any_other(tmp_path):
    write_local_study(tmp_path)
    run = start(tmp_path)
    while not (tmp_path / "reports").exists():  # the study is being checked
        assert run.poll() is None
        time.sleep(0.01)
    run.send_signal(signal.SIGTERM)
    _, told = run.communicate(timeout=60)
    assert run.returncode == 4
    last = "ppm: stopped by SIGTERM; run the same command to continue"
    assert told.splitlines()[-1] == last


DIES_AT_ITS_START = """
import os, signal, sys
if "ppmlib.workflow.run_notebook" in sys.orig_argv:
    os.kill(os.getpid(), signal.{name})
"""


@pytest.mark.parametrize(
    ("name", "state", "error"),
    [
        ("SIGTERM", "stopped", "stopped by signal SIGTERM"),
        ("SIGKILL", "failed", "killed by signal SIGKILL"),
    ],
)
def test_a_job_that_dies_before_it_can_note_it_is_told_like_any_other(
    tmp_path, monkeypatch, name, state, error
):
    study = write_local_study(tmp_path, profiling=None)
    (tmp_path / "start").mkdir()
    (tmp_path / "start/sitecustomize.py").write_text(DIES_AT_ITS_START.format(name=name))
    path = os.pathsep.join([str(tmp_path / "start"), os.environ.get("PYTHONPATH", "")])
    monkeypatch.setenv("PYTHONPATH", path.removesuffix(os.pathsep))
    run = ppm("run", study, cwd=tmp_path)
    print(run.stderr)
    assert run.returncode == 1
    told = [line for line in run.stderr.splitlines() if "1_scoring" in line]
    assert told[-1] == f"{state.upper()} 1_scoring: {error}"
    assert "CalledProcessError" not in run.stderr
    assert f"{state:8} 1_scoring: {error}" in ppm("status", study, cwd=tmp_path).stdout


@pytest.mark.slow
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGUSR1])
def test_interrupt_and_user_signal_stop_a_study_like_term(tmp_path, signum):
    write_local_study(tmp_path)
    stop(tmp_path, signum)


def test_a_second_run_of_the_same_study_is_refused(tmp_path):
    write_local_study(tmp_path)
    run = start(tmp_path)
    wait_for_kernel(tmp_path)
    second = ppm("run", "small.yaml", cwd=tmp_path)
    assert second.returncode == 3
    assert second.stderr == "ppm: reports/small: another ppm run is working on this study\n"
    run.send_signal(signal.SIGTERM)
    run.communicate(timeout=30)
