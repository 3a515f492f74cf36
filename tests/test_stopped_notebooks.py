"""A notebook that dies, hangs, takes too long or is told to stop: what its job leaves behind."""

import fcntl
import json
import signal
import subprocess
import sys
import time

import nbformat
import psutil
import pytest

JOB = """
import sys
from pathlib import Path
from ppmlib.workflow import run_notebook
run_notebook.notebooks_folder = lambda: Path("notebooks")
run_notebook.main()
"""
PARAMETERS = 'record_dir: str = ""  # the study\'s folder'
WRITE_RECORD = """
from pathlib import Path
from ppmlib.record import records
records.write(Path("."), "5_analysis", inputs={}, results={"n": 1})
"""
HANG_AT_EXIT = """
import signal, threading, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
threading.Thread(target=time.sleep, args=(600,)).start()
"""
SIGNALS = [
    signal.SIGTERM,
    pytest.param(signal.SIGINT, marks=pytest.mark.slow),
    pytest.param(signal.SIGUSR1, marks=pytest.mark.slow),
]
WAIT = "import pathlib, time; pathlib.Path('running').touch(); time.sleep(600)"


def start(folder, *sources, limit_minutes=None) -> subprocess.Popen:
    """A job of a study in `folder` whose notebook has these code cells."""
    cells = [nbformat.v4.new_code_cell(source) for source in (PARAMETERS, *sources, "after = 1")]
    cells[0].metadata["tags"] = ["parameters"]
    (folder / "notebooks").mkdir()
    kernel = {"name": "python3", "language": "python", "display_name": "Python 3"}
    about = {"kernelspec": kernel, "language_info": {"name": "python"}}
    notebook = nbformat.v4.new_notebook(cells=cells, metadata=about)
    nbformat.write(notebook, folder / "notebooks/5_analysis.ipynb")
    job = {"stage": "5_analysis", "parameters": {"record_dir": "."}, "reads": [], "threads": 1}
    plan = {
        "study": {"study": "made"},
        "synthetic": True,
        "draft": False,
        "jobs": {"5_analysis": {**job, "limit_minutes": limit_minutes}},
    }
    (folder / "study.json").write_text(json.dumps(plan))
    return subprocess.Popen([sys.executable, "-c", JOB, "5_analysis"], cwd=folder)


def left_behind(folder) -> tuple[dict, list]:
    """The note of the failure and the states of the executed notebook's code cells."""
    for process in psutil.process_iter(["cwd"]):
        assert process.info["cwd"] != str(folder), f"still there: {process}"
    assert not list((folder / "records").glob("*"))
    note = json.loads((folder / "logs/5_analysis.failed.json").read_text())
    notebook = nbformat.read(folder / "5_analysis.ipynb", as_version=4)
    assert notebook.metadata.papermill.exception is True
    assert note["error"] in notebook.metadata.papermill.ppm_failure
    assert note["error"].split(";")[0] in (folder / "5_analysis.failed.html").read_text()
    assert not (folder / "5_analysis.html").exists()
    states = [cell.metadata.papermill.status for cell in notebook.cells]
    return note, states[-2:]


def test_a_killed_kernel_does_not_look_finished(tmp_path):
    job = start(tmp_path, "import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    assert job.wait(60) == 1
    note, states = left_behind(tmp_path)
    assert note["error"] == "the kernel died (killed, or out of memory)"
    assert note["cell"] == 2 and not note["interrupted"]
    assert states == ["stopped", "not run"]


def test_a_notebook_is_stopped_at_its_time_limit(tmp_path):
    job = start(tmp_path, WAIT, limit_minutes=0.1)
    assert job.wait(60) == 1
    note, states = left_behind(tmp_path)
    assert note["error"].startswith("stopped at its time limit of 0.1 minutes; raise limits:")
    assert not note["interrupted"] and states[-1] == "not run"


@pytest.mark.parametrize("signum", SIGNALS)
def test_stop_signals_are_handled_alike(tmp_path, signum):
    job = start(tmp_path, WAIT)
    while not (tmp_path / "running").exists():
        assert job.poll() is None
        time.sleep(0.1)
    job.send_signal(signum)
    assert job.wait(20) == 1
    note, states = left_behind(tmp_path)
    assert note == {
        "run": "5_analysis",
        "cell": 2,
        "error": f"stopped by signal {signum.name}",
        "interrupted": True,
    }
    assert states == ["stopped", "not run"]


def test_a_kernel_that_hangs_after_its_last_cell_does_not_hang_the_sweep(tmp_path):
    job = start(tmp_path, WRITE_RECORD, HANG_AT_EXIT)
    started = time.perf_counter()
    assert job.wait(60) == 0
    assert time.perf_counter() - started < 30
    assert (tmp_path / "5_analysis.html").exists()
    assert not (tmp_path / "logs/5_analysis.failed.json").exists()
    for process in psutil.process_iter(["cwd"]):
        assert process.info["cwd"] != str(tmp_path), f"still there: {process}"


def test_a_notebook_waits_for_what_an_earlier_run_left_behind(tmp_path):
    log = tmp_path / "logs/5_analysis.log"
    log.parent.mkdir()
    with open(log, "w") as left:
        fcntl.flock(left, fcntl.LOCK_EX)
        job = start(tmp_path, WRITE_RECORD)
        time.sleep(3)
        assert not (tmp_path / "5_analysis.ipynb").exists()
    assert job.wait(60) == 0
    assert (tmp_path / "records/5_analysis.json").exists()
