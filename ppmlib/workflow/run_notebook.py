"""One job: one notebook, one kernel, one page. `python -m ppmlib.workflow.run_notebook KEY`.

Runs inside the study's folder. The executed notebook is kept in every case; the job is done when
its verified record and its page exist. Exit status: 0 done, 1 the notebook failed.
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
from collections.abc import Iterator
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
    """papermill's output, replaced atomically at every save."""

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
    """Make `python3` kernels start in this interpreter, whatever kernelspec a user installed."""
    with tempfile.TemporaryDirectory(prefix="ppm-") as folder:
        spec = Path(folder, "kernels", "python3", "kernel.json")
        spec.parent.mkdir(parents=True)
        command = [sys.executable, "-m", "ppmlib.workflow.kernel", "-f", "{connection_file}"]
        about = {"argv": command, "display_name": "Python 3", "language": "python"}
        spec.write_text(json.dumps(about))
        os.environ |= {"JUPYTER_PATH": folder, "JUPYTER_RUNTIME_DIR": folder}
        yield


def execute(job: dict[str, Any], executed: Path) -> None:
    """Run a job's notebook with papermill, in its own kernel.

    papermill.PapermillExecutionError when a cell fails, DeadKernelError when the kernel dies.
    """
    import papermill
    from traitlets.config import Config

    # Sockets in this job's folder: parallel kernels cannot take each other's ports.
    sockets = str(Path(os.environ["JUPYTER_RUNTIME_DIR"], "kernel"))
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
        # All results are on disk: an orderly shutdown of torch takes two seconds, and a kernel that
        # hangs after its last cell would block the study.
        shutdown_kernel="immediate",
        config=Config({"KernelManager": {"transport": "ipc", "ip": sockets}}),
    )


def describe_error(key: str, error: BaseException) -> dict[str, Any]:
    """What went wrong, as `records.describe_failure`."""
    from nbclient.exceptions import DeadKernelError
    from papermill import PapermillExecutionError

    cell, what = None, f"{type(error).__name__}: {error}"
    if isinstance(error, PapermillExecutionError):
        cell, what = error.cell_index, f"{error.ename}: {error.evalue}"
    elif isinstance(error, (Stopped, records.RecordError)):
        what = str(error)
    elif isinstance(error, DeadKernelError):
        what = "the kernel died (killed, or out of memory)"
    interrupted = isinstance(error, Stopped) and not isinstance(error, TimeLimit)
    return records.describe_failure(key, what, cell, interrupted)


def mark_failed(executed: Path, failure: dict[str, Any]) -> None:
    """Note in an executed notebook that it did not finish, and in `failure` at which cell.

    papermill leaves a notebook whose kernel was killed looking completed.
    """
    import nbformat

    notebook = nbformat.read(executed, as_version=4)
    notebook.metadata.setdefault("papermill", {}).update(
        exception=True, ppm_failure=failure["error"]
    )
    begun = []
    for index, cell in enumerate(notebook.cells):
        if cell.cell_type != "code":
            continue
        state = cell.metadata.setdefault("papermill", {})
        # Not by the execution count: a kernel may die before it sends that.
        if state.get("start_time") is None:
            state["status"] = "not run"
        else:
            begun.append((index, state))
    if failure["cell"] is None and begun:
        failure["cell"], last = begun[-1]
        last["status"] = "stopped"
    records.write_text(executed, nbformat.writes(notebook) + "\n")


def render(key: str, executed: Path, html: Path, status: str, plan: dict[str, Any]) -> None:
    """Take this machine's paths and names out of an executed notebook; write its page."""
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
        nav=list_neighbours(key, plan["jobs"]),
    )


def list_neighbours(key: str, jobs: dict[str, Any]) -> list[tuple[str, str]]:
    """Pages to link: the study's, the only one this one reads if so, and those that read it."""
    if len(jobs) == 1:
        return []
    home = os.path.relpath(".", Path(key).parent)
    near = jobs[key]["reads"] if len(jobs[key]["reads"]) == 1 else []
    wanted = ["index", *near, *(other for other in jobs if key in jobs[other]["reads"])]
    return [(name, f"{home}/{name}.html") for name in dict.fromkeys(wanted)]


def run(key: str) -> int:
    """Execute, check, render. Returns the exit status."""
    from nbclient.exceptions import CellControlSignal
    from papermill import PapermillExecutionError

    plan = records.read_json(Path(records.PLAN_FILE))
    job = plan["jobs"][key]
    executed, failed_html = Path(f"{key}.ipynb"), Path(f"{key}.failed.html")
    failure_file = records.failure_path(Path(), key)
    records.remove(Path(), key)
    for earlier in (executed, Path(f"{key}.html"), failed_html, failure_file):
        earlier.unlink(missing_ok=True)
    executed.parent.mkdir(parents=True, exist_ok=True)
    made_from = unfinished.describe_inputs(Path(), job)
    os.environ.update(notebook_environment(job["threads"]))
    stored = data_root.read_link(Path())
    if stored is not None:
        os.environ.update(data_root.environment(stored))
    started = time.perf_counter()
    try:
        lease = gpu_lease() if job.get("gpu") else contextlib.nullcontext()
        # Waiting for a GPU that another study holds does not count for the time limit.
        with stopped_in_time(None), lease, stopped_in_time(job.get("limit_minutes")):
            with own_interpreter():
                execute(job, executed)
        unfinished.check_as_planned(Path(), key, job)
        records.add_to_record(Path(), key, unfinished.MADE_FROM, made_from)
    except (
        *(PapermillExecutionError, CellControlSignal, Stopped),
        *(records.RecordError, RuntimeError, OSError),
    ) as error:
        failure = note_failure(key, describe_error(key, error))
        if executed.exists():
            mark_failed(executed, failure)
            records.write_json(failure_file, failure)
            render(key, executed, failed_html, f"failed: {failure['error']}", plan)
        return 1
    finished = time.perf_counter()
    status = render_page(key, plan)
    page_s = time.perf_counter() - finished
    print(f"{key}: notebook {finished - started:.1f} s, page {page_s:.1f} s")
    return status


def render_page(key: str, plan: dict[str, Any]) -> int:
    """Render a finished notebook. 0, or 1 with a note of the failure; its record stays as it is."""

    def note_any(kind, error, _trace) -> bool:
        if not isinstance(error, Exception):
            return False
        traceback.print_exception(error)
        what = (
            f"its page could not be rendered: {kind.__name__}: {error} (put its notebook back, "
            f"or run it again with --forcerun {key}.html)"
        )
        note_failure(key, records.describe_failure(key, what))
        return True

    with contextlib.ExitStack() as stack:
        stack.push(note_any)  # no error of a page may cost a finished record
        render(key, Path(f"{key}.ipynb"), Path(f"{key}.html"), "done", plan)
        records.failure_path(Path(), key).unlink(missing_ok=True)
        return 0
    return 1


def note_failure(key: str, failure: dict[str, Any]) -> dict[str, Any]:
    """Write and print a failure, in one line without this machine's paths and names."""
    from ppmlib.page import inert

    failure["error"] = inert.scrub_text(" ".join(failure["error"].split()))
    print(f"{key}: {failure['error']}", file=sys.stderr, flush=True)
    records.write_json(records.failure_path(Path(), key), failure)
    return failure


def wait_for_turn(log: TextIO, key: str) -> None:
    """Lock a notebook's log for this job and its kernel, which also writes there.

    The processes of a killed engine take a moment to end: until then the same notebook is not
    started again. SystemExit if they have not ended after `TURN_LIMIT_S`.
    """
    started = time.monotonic()
    while True:
        try:
            return fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() - started > TURN_LIMIT_S:
                sys.exit(f"{key}: a process of an earlier run still runs this notebook: stop it")
            time.sleep(0.1)


def scrub_log(log: Path) -> None:
    """Take this machine's paths and names out of a finished log."""
    from ppmlib.page import inert

    text = inert.scrub_text(log.read_text(encoding="utf-8", errors="replace"))
    with open(log, "r+", encoding="utf-8") as handle:
        handle.write(text)
        handle.truncate()


def main() -> NoReturn:
    """Parse the command line, run the job with its output in `logs/<key>.log`, exit."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("keys", nargs="+", metavar="KEY")
    parser.add_argument("--page", action="store_true", help="only render finished notebooks")
    arguments = parser.parse_args()
    die_with_parent()
    skip_slow_imports()
    if arguments.page:
        plan = records.read_json(Path(records.PLAN_FILE))
        sys.exit(max(render_page(key, plan) for key in arguments.keys))
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
    # Without cleanup: it would wait for the sockets of a kernel that was stopped during its start.
    os._exit(status)


if __name__ == "__main__":
    main()
