"""Start Snakemake on the plan of a study, one run at a time."""

import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import resources
from pathlib import Path

from ppmlib import records


class StudyBusy(Exception):
    """Another process runs this study."""


@contextmanager
def only_run(root: Path) -> Iterator[None]:
    """Hold a study's lock, freed when the process dies. StudyBusy if another holds it."""
    root.mkdir(parents=True, exist_ok=True)
    with open(root / ".lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StudyBusy(f"{root}: another ppm run is working on this study") from None
        yield


def snakemake(root: Path, profile: str, options: Sequence[str]) -> int:
    """Run Snakemake in a study's folder with a packaged profile. Returns its exit status."""
    workflow = Path(str(resources.files("ppmlib.workflow")))
    command = [sys.executable, "-m", "ppmlib.workflow.engine"]
    command += ["--snakefile", os.path.relpath(workflow / "Snakefile", root)]
    command += ["--workflow-profile", str(workflow / "profiles" / profile)]
    locks = root / ".snakemake" / "locks"
    if locks.is_dir() and any(locks.iterdir()):
        # Nobody holds our own lock, so Snakemake's is left from a kill.
        subprocess.run([*command, "--unlock"], cwd=root, check=True, capture_output=True)
    return subprocess.run([*command, *options], cwd=root, check=False).returncode


def alone(root: Path, key: str) -> int:
    """Run one notebook that belongs to no study into a folder of its own. Its exit status."""
    job = {"stage": key, "parameters": {"record_dir": "."}, "reads": [], "threads": 1}
    plan = {"study": {"study": root.name}, "synthetic": False, "draft": False, "jobs": {key: job}}
    (root / f"{key}.html").unlink(missing_ok=True)
    records.write_json(root / records.PLAN_FILE, plan)
    command = [sys.executable, "-m", "ppmlib.workflow.run_notebook", key]
    status = subprocess.run(command, cwd=root, check=False).returncode
    if status == 0:
        records.write_manifest(root)
    return status
