"""One job: one notebook, one kernel, one page. `python -m ppmlib.workflow.run_notebook KEY`.

Runs inside the study's folder. The executed notebook stays whatever happens; the job is done only
when its verified record and its page are there. Exit status: 0 done, 1 the notebook failed.
"""

import argparse
import contextlib
import fcntl
import json
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn, TextIO

from ppmlib.data import data_root
from ppmlib.record import records
from ppmlib.workflow import unfinished
from ppmlib.workflow.gpus import gpu_lease
from ppmlib.workflow.places import notebooks_folder
from ppmlib.workflow.processes import (
    die_with_parent,
    notebook_environment,
    skip_slow_imports,
)
from ppmlib.workflow.stopping import Stopped, TimeLimit, stopped_in_time

AUTOSAVE_EVERY_S = 5
KERNEL_START_LIMIT_S = 120
TURN_LIMIT_S = 30
LIVE = "live:"


class LiveNotebook:
    """papermill's output, replaced as a whole at every save: no half notebook is ever seen."""

    def pretty_path(self, path: str) -> str:
        """The path as papermill's log shows it."""
        return path.removeprefix(LIVE)

    def write(self, buf: str, path: str) -> None:
        """Write a notebook named with `LIVE` before its path."""
        final = Path(path.removeprefix(LIVE))
        temporary = final.with_name(f".{final.name}.tmp")
        try:
            temporary.write_text(buf, encoding="utf-8")
            temporary.replace(final)
        finally:
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def own_interpreter() -> Iterator[None]:
    """Make `python3` kernels start in this interpreter, over sockets of their own.

    The kernelspec a notebook names, or one a user installed under the same name, is not used.
    """
    with tempfile.TemporaryDirectory(prefix="ppm-") as folder:
        spec = Path(folder, "kernels", "python3", "kernel.json")
        spec.parent.mkdir(parents=True)
        command = [sys.executable, "-m", "ppmlib.workflow.kernel", "-f", "{connection_file}"]
        spec.write_text(
            json.dumps({"argv": command, "display_name": "Python 3", "language": "python"})
        )
        os.environ["JUPYTER_PATH"] = folder
        os.environ["JUPYTER_RUNTIME_DIR"] = folder
        yield


def execute(job: dict[str, Any], executed: Path) -> None:
    """Run a job's notebook with papermill, in a kernel of its own.

    Raises:
        papermill.PapermillExecutionError: when a cell fails; `executed` then ends at that cell.
        nbclient's DeadKernelError: when the kernel dies.
    """
    import papermill
    from traitlets.config import Config

    # Sockets in a folder of this job: parallel kernels cannot take each other's ports.
    sockets = str(Path(os.environ["JUPYTER_RUNTIME_DIR"], "kernel"))
    config = Config({"KernelManager": {"transport": "ipc", "ip": sockets}})
    papermill.iorw.papermill_io.register(LIVE, LiveNotebook())
    papermill.execute_notebook(
        str(notebooks_folder() / f"{job.get('notebook', job['stage'])}.ipynb"),
        f"{LIVE}{executed}",
        parameters=job["parameters"],
        kernel_name="python3",
        progress_bar=False,
        log_output=True,
        autosave_cell_every=AUTOSAVE_EVERY_S,
        start_timeout=KERNEL_START_LIMIT_S,
        # All that counts is on disk: waiting for torch to take itself apart costs two seconds, and
        # a kernel that hangs after its last cell would hang the sweep.
        shutdown_kernel="immediate",
        config=config,
    )


def failure_of(key: str, error: BaseException) -> dict[str, Any]:
    """What went wrong, as `records.failure_path` describes it; `ppm run` and `status` print it."""
    from papermill import PapermillExecutionError

    if isinstance(error, PapermillExecutionError):
        return {
            "run": key,
            "cell": error.cell_index,
            "error": f"{error.ename}: {' '.join(str(error.evalue).split())}",
            "interrupted": False,
        }
    name = type(error).__name__
    reasons = {"DeadKernelError": "the kernel died (killed, or out of memory)"}
    told = isinstance(error, (Stopped, records.RecordError))
    what = str(error) if told else reasons.get(name, f"{name}: {error}")
    return {
        "run": key,
        "cell": None,
        "error": " ".join(what.split()),
        "interrupted": isinstance(error, Stopped) and not isinstance(error, TimeLimit),
    }


def mark_failed(executed: Path, failure: dict[str, Any]) -> None:
    """Say in an executed notebook that it did not finish, and in `failure` at which cell.

    papermill leaves a notebook whose kernel was killed looking completed, cells never run included.
    """
    import nbformat

    notebook = nbformat.read(executed, as_version=4)
    meta = notebook.metadata.setdefault("papermill", {})
    meta["exception"] = True
    meta["ppm_failure"] = failure["error"]
    code = [(i, cell) for i, cell in enumerate(notebook.cells) if cell.cell_type == "code"]
    begun = []
    for index, cell in code:
        state = cell.metadata.setdefault("papermill", {})
        # Not the execution count: a kernel may die before it tells it.
        if state.get("start_time") is None:
            state["status"] = "not run"
        else:
            begun.append((index, cell))
    if failure["cell"] is None and begun:
        failure["cell"], last = begun[-1]
        last.metadata.setdefault("papermill", {})["status"] = "stopped"
    records.write_text(executed, nbformat.writes(notebook) + "\n")


def render(key: str, executed: Path, html: Path, status: str, plan: dict[str, Any]) -> None:
    """Scrub an executed notebook of this machine's traces and write its page."""
    import nbformat

    from ppmlib.page import inert, pages

    notebook = nbformat.read(executed, as_version=4)
    inert.scrub_notebook(notebook)
    records.write_text(executed, nbformat.writes(notebook) + "\n")
    pages.render_notebook(
        executed,
        html,
        root=Path(),
        synthetic=plan["synthetic"],
        draft=plan["draft"],
        status=status,
        nav=neighbours(key, plan["jobs"]),
    )


def neighbours(key: str, jobs: dict[str, Any]) -> list[tuple[str, str]]:
    """The pages a reader may want next: the study's page, what this one reads, and the analysis."""
    if len(jobs) == 1:
        return []
    home = os.path.relpath(".", Path(key).parent)
    near = jobs[key]["reads"] if len(jobs[key]["reads"]) == 1 else []
    wanted = ["index", *near, *(other for other in jobs if key in jobs[other]["reads"])]
    return [(name, f"{home}/{name}.html") for name in dict.fromkeys(wanted)]


def run(key: str) -> int:
    """Execute, check, render. Returns the exit status."""
    plan = records.read_json(Path(records.PLAN_FILE))
    job = plan["jobs"][key]
    executed, html = Path(f"{key}.ipynb"), Path(f"{key}.html")
    failed_html, failure_file = Path(f"{key}.failed.html"), records.failure_path(Path(), key)
    records.remove(Path(), key)
    for earlier in (executed, html, failed_html, failure_file):
        earlier.unlink(missing_ok=True)
    executed.parent.mkdir(parents=True, exist_ok=True)
    made_from = unfinished.made_from(Path(), job)
    os.environ.update(notebook_environment(job["threads"]))
    stored = data_root.read_link(Path())
    if stored is not None:
        os.environ.update(data_root.environment(stored))
    from nbclient.exceptions import CellControlSignal, DeadKernelError
    from papermill import PapermillExecutionError

    known = (PapermillExecutionError, DeadKernelError, CellControlSignal, records.RecordError)
    error: BaseException | None = None
    started = time.perf_counter()
    try:
        lease = gpu_lease() if job.get("gpu") else contextlib.nullcontext()
        # The time another study holds the GPU is not this notebook's.
        with stopped_in_time(None), lease, stopped_in_time(job.get("limit_minutes")):
            with own_interpreter():
                execute(job, executed)
        unfinished.check_as_planned(Path(), key, job)
        records.stamp(Path(), key, unfinished.MADE_FROM, made_from)
    except (*known, Stopped, RuntimeError, OSError) as caught:
        error = caught
    finished = time.perf_counter()
    if error is None:
        status = render_page(key, plan)
        page_s = time.perf_counter() - finished
        print(f"{key}: notebook {finished - started:.1f} s, page {page_s:.1f} s")
        return status
    failure = note_failure(key, failure_of(key, error))
    if executed.exists():
        mark_failed(executed, failure)
        records.write_json(failure_file, failure)
        render(key, executed, failed_html, f"failed: {failure['error']}", plan)
    return 1


def render_page(key: str, plan: dict[str, Any]) -> int:
    """Render a finished notebook. 0, or 1 with a note of the failure; its record stays as it is."""
    with _NotedFailure(key) as rendering:
        render(key, Path(f"{key}.ipynb"), Path(f"{key}.html"), "done", plan)
    if rendering.failed:
        return 1
    records.failure_path(Path(), key).unlink(missing_ok=True)
    return 0


class _NotedFailure:
    """Whatever a page's rendering raises is noted: nothing of it may cost a finished record."""

    def __init__(self, key: str) -> None:
        self.key, self.failed = key, False

    def __enter__(self) -> "_NotedFailure":
        return self

    def __exit__(self, kind, error, trace) -> bool:
        self.failed = isinstance(error, Exception)
        if self.failed:
            traceback.print_exception(error)
            what = (
                f"its page could not be rendered: {kind.__name__}: {error} (put its notebook back, "
                f"or run it again with --forcerun {self.key}.html)"
            )
            note_failure(
                self.key, {"run": self.key, "cell": None, "error": what, "interrupted": False}
            )
        return self.failed


def note_failure(key: str, failure: dict[str, Any]) -> dict[str, Any]:
    """Write and print a failure, in one line without this machine's traces."""
    from ppmlib.page import inert

    failure["error"] = inert.scrub_text(" ".join(failure["error"].split()))
    print(f"{key}: {failure['error']}", file=sys.stderr, flush=True)
    records.write_json(records.failure_path(Path(), key), failure)
    return failure


def wait_for_turn(log: TextIO, key: str) -> None:
    """Hold a notebook's log for this job; its kernel, which writes there too, holds it as well.

    After a kill of the engine the processes it left take a moment to end: until then the same
    notebook is not begun again.

    Raises:
        SystemExit: if they have not ended after `TURN_LIMIT_S`.
    """
    started = time.monotonic()
    while True:
        try:
            return fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() - started > TURN_LIMIT_S:
                sys.exit(f"{key}: a process left from an earlier run still works on it; end it")
            time.sleep(0.1)


def scrub_log(log: Path) -> None:
    """Take the traces of this machine out of a log that is written to its end."""
    from ppmlib.page import inert

    text = inert.scrub_text(log.read_text(encoding="utf-8", errors="replace"))
    with open(log, "r+", encoding="utf-8") as handle:
        handle.write(text)
        handle.truncate()


def render_pages(keys: Sequence[str]) -> int:
    """Render pages of finished notebooks that are missing; nothing is computed. 0 if all are."""
    plan = records.read_json(Path(records.PLAN_FILE))
    return max(render_page(key, plan) for key in keys)


def main() -> NoReturn:
    """Parse the command line, write everything this job says to `logs/<key>.log`, run it, exit."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("keys", nargs="+", metavar="KEY")
    parser.add_argument("--page", action="store_true", help="only render finished notebooks")
    arguments = parser.parse_args()
    die_with_parent()
    skip_slow_imports()
    if arguments.page:
        sys.exit(render_pages(arguments.keys))
    (key,) = arguments.keys
    log = Path("logs", f"{key}.log")
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, "a") as handle:
        wait_for_turn(handle, key)
        handle.truncate(0)
        os.dup2(handle.fileno(), sys.stdout.fileno())
        os.dup2(handle.fileno(), sys.stderr.fileno())
        import logging

        logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
        status = run(key)
    sys.stdout.flush()
    sys.stderr.flush()
    scrub_log(log)
    # At once: the sockets of a kernel that was stopped while it started would be waited for.
    os._exit(status)


if __name__ == "__main__":
    main()
