"""Start Snakemake on the plan of a study, one run at a time."""

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib import resources
from pathlib import Path
from typing import Any

from ppmlib.data import data_root
from ppmlib.record import records
from ppmlib.workflow import unfinished
from ppmlib.workflow.gpus import visible_gpus
from ppmlib.workflow.processes import child_environment
from ppmlib.workflow.stopping import STOP_SIGNALS

ENGINE_PLAN = ".plan.json"  # what the Snakefile reads: the plan, and which of its jobs are to run


class StudyBusy(Exception):
    """Another process runs this study."""


class Interrupted(Exception):
    """A signal stopped the run."""


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


def prepare_folder(
    root: Path, plan: Mapping[str, Any], to_run: Mapping[str, str], data_folder: Path | None
) -> None:
    """Make a study's folder agree with its plan, before its jobs run."""
    unfinished.delete_stale_records(root, to_run)
    if unfinished.earlier_plan(root) != plan:
        records.write_json(root / records.PLAN_FILE, plan)
    data_root.write_link(root, data_folder)
    if unfinished.ANALYSIS in to_run:
        records.failure_path(root, unfinished.ANALYSIS).unlink(missing_ok=True)


def run_job(root: Path, *arguments: str) -> int:
    """Run `run_notebook` with some arguments in a folder, without Snakemake. Its exit status."""
    command = [sys.executable, "-m", "ppmlib.workflow.run_notebook", *arguments]
    return subprocess.run(command, cwd=root, check=False).returncode


@contextmanager
def linked_copy(root: Path, to_run: Collection[str]) -> Iterator[Path]:
    """A scratch folder of links to a study's files, for a Snakemake that must not write to them.

    The records of the jobs in `to_run` are left out, and Snakemake's metadata is copied.
    """
    with tempfile.TemporaryDirectory(prefix="ppm-") as name:
        scratch, root = Path(name), Path(root).resolve()
        absent = {records.record_path(root, key) for key in to_run}
        absent |= {root / records.MANIFEST} if to_run else set()
        for path in root.rglob("*") if root.is_dir() else ():
            place = scratch / path.relative_to(root)
            if ".snakemake" in place.parts or path in absent:
                continue
            if path.is_symlink() or not path.is_dir():
                place.parent.mkdir(parents=True, exist_ok=True)
                place.symlink_to(path)
        if (root / ".snakemake").is_dir():
            shutil.copytree(
                root / ".snakemake",
                scratch / ".snakemake",
                ignore=shutil.ignore_patterns("log", "locks", "incomplete"),
            )
        yield scratch


@contextmanager
def interruptible() -> Iterator[None]:
    """Raise Interrupted on the first stop signal in the block, before Snakemake has started."""

    def on_signal(signum, _frame):
        raise Interrupted(f"stopped by {signal.Signals(signum).name}")

    with _handling_stop_signals(on_signal):
        yield


def snakemake(
    root: Path,
    profile: str,
    options: Sequence[str],
    plan: Mapping[str, Any],
    *,
    to_run: Mapping[str, str],
    plan_file: Path | None = None,
) -> int:
    """Run Snakemake in a study's folder with a packaged profile. Returns its exit status.

    TERM, INT and USR1 stop the running notebooks, which note it, and then Snakemake: Interrupted. A
    second signal kills them.

    Args:
        root: the study's folder, or a linked copy of it.
        to_run: the jobs to run, with their reasons; Snakemake sees the others as up to date.
        plan_file: where both are written for Snakemake; None for a hidden file in `root`.
    """
    workflow = Path(str(resources.files("ppmlib.workflow")))
    command = [sys.executable, "-m", "ppmlib.workflow.engine"]
    gpus = len(visible_gpus()) if profile == "local" else 0
    command += ["--resources", f"gpu={gpus}"] if gpus else []
    command += ["--snakefile", os.path.relpath(workflow / "Snakefile", Path(root).resolve())]
    command += ["--workflow-profile", str(workflow / "profiles" / profile)]
    plan_file = plan_file or Path(root, ENGINE_PLAN)
    pages = [key for key in plan["jobs"] if key in to_run or Path(root, f"{key}.html").is_file()]
    records.write_json(plan_file, {**plan, "to_run": dict(to_run), "pages": pages})
    engine = _SnakemakeProcess(root, profile, plan_file)
    with _handling_stop_signals(engine.on_signal):
        locks = root / ".snakemake" / "locks"
        if locks.is_dir() and any(locks.iterdir()):
            # Our own lock is free, so Snakemake's is stale.
            engine.run([*command, "--unlock"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        status = engine.run([*command, *options])
    if engine.signals:
        raise Interrupted(f"stopped by {engine.signals[0].name}")
    return status


def run_notebook_alone(
    root: Path, key: str, *, synthetic: bool = False, draft: bool = False, **parameters
) -> int:
    """Run a notebook outside any study in its own folder. Its exit status, or RecordError."""
    job = {
        "stage": key,
        "parameters": {**parameters, "record_dir": "."},
        "reads": [],
        "threads": 1,
    }
    plan = {
        "study": {"study": root.name},
        "synthetic": synthetic,
        "draft": draft,
        "jobs": {key: job},
    }
    unfinished.refuse_other(root, plan)
    (root / f"{key}.html").unlink(missing_ok=True)
    records.write_json(root / records.PLAN_FILE, plan)
    status = run_job(root, key)
    if status == 0:
        records.write_manifest(root)
    return status


@contextmanager
def _handling_stop_signals(handler) -> Iterator[None]:
    before = {signum: signal.signal(signum, handler) for signum in STOP_SIGNALS}
    try:
        yield
    finally:
        for signum, earlier in before.items():
            signal.signal(signum, earlier)


class _SnakemakeProcess:
    """Snakemake and its children: the first signal stops them in order, the next one kills them."""

    def __init__(self, root: Path, profile: str, plan_file: Path) -> None:
        self.root, self.profile = root, profile
        plan = os.path.relpath(plan_file, root)
        self.environment = {**child_environment(), "PPM_PLAN": plan, "PPM_PROFILE": profile}
        self.process: subprocess.Popen | None = None
        self.signals: list[signal.Signals] = []

    def run(self, command: list[str], **output) -> int:
        """Run a command to its end, in its own session: Ctrl-C reaches only this process."""
        self.process = subprocess.Popen(
            command, cwd=self.root, start_new_session=True, env=self.environment, **output
        )
        if self.signals:
            self._stop()
        return self.process.wait()

    def on_signal(self, signum, _frame) -> None:
        """Remember a stop signal and stop the running process, if there is one."""
        self.signals.append(signal.Signals(signum))
        if self.process is not None:
            self._stop()

    def _stop(self) -> None:
        if self.process.poll() is not None:
            return
        with suppress(ProcessLookupError):
            if len(self.signals) > 1:
                os.killpg(self.process.pid, signal.SIGKILL)
            elif self.profile == "slurm":
                self.process.send_signal(signal.SIGINT)  # Snakemake then cancels its jobs
            else:
                # The notebooks stop and note it; Snakemake waits for them.
                os.killpg(self.process.pid, signal.SIGTERM)
