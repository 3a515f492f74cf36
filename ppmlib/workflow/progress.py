"""A Snakemake logger: a line per finished notebook, a line per failure.

On a terminal each finished job prints done/total, elapsed time and an estimate;
elsewhere only the start, the end and failures are printed.
"""

import logging
import os
import re
import sys
import time
from collections import Counter, defaultdict
from pathlib import Path
from statistics import fmean

from snakemake_interface_logger_plugins.base import LogHandlerBase
from snakemake_interface_logger_plugins.common import LogEvent

from ppmlib.record import records
from ppmlib.workflow import processes
from ppmlib.workflow.stopping import STOP_SIGNALS

UNCOUNTED = {"all", "experiment"}
# Snakemake's lines about a failure; the notebook's own line is shown instead.
REPLACED = (
    "returned non-zero exit status",
    "Exiting because a job execution failed",
    "At least one job did not complete successfully",
)
# Snakemake's line about a job that a signal ended before it could note that.
DIED = re.compile(r"run_notebook (?P<key>[^\s']+)' died with <Signals\.(?P<signal>\w+)")


def clock(seconds: float) -> str:
    """Seconds as m:ss or h:mm:ss."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02d}:{second:02d}" if hours else f"{minute}:{second:02d}"


class LogHandler(LogHandlerBase):
    """Snakemake's events as progress lines on standard error."""

    writes_to_stream = True  # instead of Snakemake's own lines
    writes_to_file = False  # Snakemake's log file stays as it is
    has_filter = has_formatter = True  # `emit` gets every event and makes its line
    needs_rulegraph = False

    def __post_init__(self) -> None:
        """Start the clock; Snakemake's first event gives the number of jobs."""
        self.started = time.perf_counter()
        self.jobs: dict[int, tuple[str, str, float]] = {}  # rule, key, when it began
        self.planned: Counter = Counter()
        self.seconds: defaultdict[str, list[float]] = defaultdict(list)
        self.dry_run = bool(getattr(self.common_settings, "dryrun", False))
        self.person = sys.stderr.isatty()
        self.reasons = records.read_json(Path(os.environ["PPM_PLAN"]))["to_run"]

    def emit(self, record: logging.LogRecord) -> None:
        """Turn one Snakemake event into at most one line."""
        event = getattr(record, "event", None)
        if event == LogEvent.RUN_INFO:
            self._on_plan(record)
        elif event == LogEvent.JOB_INFO:
            self._on_job(record)
        elif event == LogEvent.JOB_FINISHED:
            self._on_finished(record.job_id)
        elif event == LogEvent.JOB_ERROR:
            self._on_error(record)
        elif event == LogEvent.ERROR or (event is None and record.levelno >= logging.ERROR):
            # `ppm run` reports a full disk or a read-only folder.
            if processes.folder_trouble(Path()) is None:
                self._on_message(record.getMessage())
        elif event is None and "Nothing to be done" in record.getMessage():
            self._say("nothing to do: every record of this study is there and current")

    def _say(self, line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    def _on_plan(self, record) -> None:
        if self.planned:
            return
        uncounted = {*UNCOUNTED, "total"}
        self.planned = Counter({k: n for k, n in record.stats.items() if k not in uncounted})
        parts = ", ".join(f"{n} x {k.removeprefix('stage')}" for k, n in self.planned.items())
        self._say(f"{self.planned.total()} jobs: {parts}")

    def _on_job(self, record) -> None:
        rule = record.rule_name
        made = str(record.output[0]) if record.output else rule
        key = made.removeprefix("records/").removesuffix(".json").removesuffix(".html")
        self.jobs[record.jobid] = (rule, key, time.perf_counter())
        if rule in UNCOUNTED:
            return
        if self.dry_run:
            reason = self.reasons.get(key)
            self._say(f"would run {key}" + (f"  ({reason})" if reason else ""))
        elif self.person:
            self._say(f"          started   {key}")

    def _on_finished(self, job_id: int) -> None:
        rule, key, begun = self.jobs[job_id]
        if rule in UNCOUNTED:
            return
        took = time.perf_counter() - begun
        self.seconds[rule].append(took)
        if self.person:
            done, total = sum(map(len, self.seconds.values())), self.planned.total()
            elapsed = time.perf_counter() - self.started
            ahead = f", about {clock(self._estimate_s(elapsed))} left" if done < total else ""
            self._say(
                f"[{done:3d}/{total}] done      {key}  {took:.1f} s"
                f"   (elapsed {clock(elapsed)}{ahead})"
            )

    def _estimate_s(self, elapsed: float) -> float:
        """Seconds left: what each stage took so far, shared by as many jobs as ran side by side."""
        known = [s for durations in self.seconds.values() for s in durations]
        side_by_side = max(1.0, sum(known) / elapsed)
        left = sum(
            (total - len(self.seconds.get(rule, ()))) * fmean(self.seconds.get(rule, known))
            for rule, total in self.planned.items()
        )
        return left / side_by_side

    def _on_message(self, message: str) -> None:
        died = DIED.search(message)
        if died:
            key, name = died["key"], died["signal"]
            interrupted = name in {signum.name for signum in STOP_SIGNALS}
            error = f"{'stopped' if interrupted else 'killed'} by signal {name}"
            failure = records.describe_failure(key, error, interrupted=interrupted)
            records.write_json(records.failure_path(Path(), key), failure)
        elif not any(words in message for words in REPLACED):
            self._say(message)

    def _on_error(self, record) -> None:
        key = self.jobs[record.jobid][1] if record.jobid in self.jobs else record.rule_name
        failure = records.read_failure(Path(), key)
        if failure is None:
            why = processes.folder_trouble(Path()) or f"see logs/{key}.log"
            self._say(f"FAILED {key}: {why}")
            return
        what = "STOPPED" if failure["interrupted"] else "FAILED"
        cell = "" if failure["cell"] is None else f" cell {failure['cell']}:"
        page = Path(f"{key}.failed.html")
        seen = f" (see {page})" if page.exists() else ""
        self._say(f"{what} {key}:{cell} {failure['error']}{seen}")
