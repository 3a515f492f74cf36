"""Start Snakemake on the plan of a study, one run at a time."""

import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib import resources
from pathlib import Path
from typing import Any

from ppmlib import records
from ppmlib.workflow.gpus import visible_gpus
from ppmlib.workflow.processes import child_environment
from ppmlib.workflow.stopping import STOP_SIGNALS

WRONG_OPTIONS = 2  # Snakemake's exit status where it cannot read its options; a failed run has 1


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


def forget_changed(root: Path, plan: Mapping[str, Any]) -> None:
    """Take away the records of jobs that the study's earlier plan describes otherwise.

    Snakemake sees a change by itself, but not in a folder that came without its notes (a clone).
    """
    earlier = root / records.PLAN_FILE
    jobs = records.read_json(earlier)["jobs"] if earlier.exists() else {}
    for key, job in plan["jobs"].items():
        now, then = (
            records.fingerprint({name: j[name] for name in ("parameters", "static")})
            for j in (job, jobs.get(key, job))
        )
        if now != then:
            records.record_path(root, key).unlink(missing_ok=True)


@contextmanager
def interruptible() -> Iterator[None]:
    """Interrupted on the first stop signal in the block, also before there is a Snakemake."""

    def on_signal(signum, _frame):
        raise Interrupted(f"stopped by {signal.Signals(signum).name}")

    with _handling_stop_signals(on_signal):
        yield


def snakemake(
    root: Path, profile: str, options: Sequence[str], plan_file: str = records.PLAN_FILE
) -> int:
    """Run Snakemake in a study's folder with a packaged profile. Returns its exit status.

    Another `plan_file` is for a dry run, which leaves the study's own as it is.

    TERM, INT and USR1 stop the running notebooks, which note it, and then Snakemake; a second one
    kills them.

    Raises:
        Interrupted: after one of these signals.
    """
    workflow = Path(str(resources.files("ppmlib.workflow")))
    command = [sys.executable, "-m", "ppmlib.workflow.engine"]
    gpus = len(visible_gpus()) if profile == "local" else 0
    command += ["--resources", f"gpu={gpus}"] if gpus else []
    command += ["--snakefile", os.path.relpath(workflow / "Snakefile", root)]
    command += ["--workflow-profile", str(workflow / "profiles" / profile)]
    engine = _Engine(root, profile, plan_file)
    with engine.stopped_by_signals():
        locks = root / ".snakemake" / "locks"
        if locks.is_dir() and any(locks.iterdir()):
            # Nobody holds our own lock, so Snakemake's is left from a kill.
            engine.run([*command, "--unlock"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        status = engine.run([*command, *options])
    if engine.signals:
        raise Interrupted(f"stopped by {engine.signals[0].name}")
    return status


def alone(
    root: Path, key: str, *, synthetic: bool = False, draft: bool = False, **parameters
) -> int:
    """Run one notebook that belongs to no study into a folder of its own. Its exit status."""
    parameters = {**parameters, "record_dir": "."}
    job = {"stage": key, "parameters": parameters, "reads": [], "threads": 1}
    plan = {"study": {"study": root.name}, "synthetic": synthetic, "draft": draft,
            "jobs": {key: job}}  # fmt: skip
    (root / f"{key}.html").unlink(missing_ok=True)
    records.write_json(root / records.PLAN_FILE, plan)
    command = [sys.executable, "-m", "ppmlib.workflow.run_notebook", key]
    status = subprocess.run(command, cwd=root, check=False).returncode
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


class _Engine:
    """Snakemake's processes, stopped in order by the first signal."""

    def __init__(self, root: Path, profile: str, plan_file: str) -> None:
        self.root = root
        self.environment = {**child_environment(), "PPM_PLAN": plan_file, "PPM_PROFILE": profile}
        self.profile = profile
        self.process: subprocess.Popen | None = None
        self.signals: list[signal.Signals] = []

    def run(self, command: list[str], **output) -> int:
        """Run a command to its end, in a session of its own: Ctrl-C reaches only us."""
        self.process = subprocess.Popen(
            command, cwd=self.root, start_new_session=True, env=self.environment, **output
        )
        if self.signals:
            self._stop()
        return self.process.wait()

    @contextmanager
    def stopped_by_signals(self) -> Iterator[None]:
        """While the block runs, the first stop signal stops Snakemake; the next one kills it."""

        def on_signal(signum, _frame):
            self.signals.append(signal.Signals(signum))
            if self.process is not None:
                self._stop()

        with _handling_stop_signals(on_signal):
            yield

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
