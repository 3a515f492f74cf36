"""What a person sees while a study runs: a line per finished notebook, a line per failure.

A Snakemake logger. On a terminal each finished job prints done/total, elapsed time and an estimate;
elsewhere only the start, the end and failures are printed.
"""

import json
import logging
import os
import re
import sys
import time
from collections import Counter, defaultdict
from pathlib import Path

from snakemake_interface_logger_plugins.base import LogHandlerBase
from snakemake_interface_logger_plugins.common import LogEvent

from ppmlib.record import records
from ppmlib.workflow import processes
from ppmlib.workflow.stopping import STOP_SIGNALS

UNCOUNTED = {"all", "experiment"}
# Snakemake's own words for what the line of the failed notebook says better.
SAID_BETTER = (
    "returned non-zero exit status",
    "Exiting because a job execution failed",
    "At least one job did not complete successfully",
)
# Of a job that a signal ended before, or without, noting it.
DIED = re.compile(r"run_notebook (?P<key>[^\s']+)' died with <Signals\.(?P<signal>\w+)")


def clock(seconds: float) -> str:
    """Seconds as m:ss or h:mm:ss."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02d}:{second:02d}" if hours else f"{minute}:{second:02d}"


class LogHandler(LogHandlerBase):
    """Snakemake's events as progress lines on standard error."""

    def __post_init__(self) -> None:
        """Nothing is known before Snakemake says how many jobs there are."""
        self.started = time.perf_counter()
        self.jobs: dict[int, tuple[str, str]] = {}
        self.begun: dict[int, float] = {}
        self.planned: Counter = Counter()
        self.finished: Counter = Counter()
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
            # `ppm run` itself says that the disk is full or the folder read-only.
            if processes.folder_trouble(Path()) is None:
                self._on_message(record.getMessage())
        elif event is None and "Nothing to be done" in record.getMessage():
            self._say("nothing to do: every record of this study is there and current")

    def _say(self, line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    def _on_plan(self, record) -> None:
        if self.planned:
            return
        stats = {k: v for k, v in record.stats.items() if k not in UNCOUNTED | {"total"}}
        self.planned = Counter(stats)
        parts = ", ".join(f"{n} x {rule.removeprefix('stage')}" for rule, n in stats.items())
        self._say(f"{self.planned.total()} jobs: {parts}")

    def _on_job(self, record) -> None:
        rule = record.rule_name
        made = str(record.output[0]) if record.output else rule
        key = made.removeprefix("records/").removesuffix(".json").removesuffix(".html")
        self.jobs[record.jobid] = (rule, key)
        self.begun[record.jobid] = time.perf_counter()
        if rule in UNCOUNTED:
            return
        if self.dry_run:
            reason = self.reasons.get(key)
            self._say(f"would run {key}" + (f"  ({reason})" if reason else ""))
        elif self.person:
            self._say(f"          started   {self.jobs[record.jobid][1]}")

    def _on_finished(self, job_id: int) -> None:
        rule, key = self.jobs[job_id]
        if rule in UNCOUNTED:
            return
        took = time.perf_counter() - self.begun[job_id]
        self.finished[rule] += 1
        self.seconds[rule].append(took)
        if self.person:
            done, total = self.finished.total(), self.planned.total()
            elapsed = time.perf_counter() - self.started
            left = self._estimate_s(elapsed)
            ahead = f", about {clock(left)} left" if done < total else ""
            self._say(
                f"[{done:3d}/{total}] done      {key}  {took:.1f} s"
                f"   (elapsed {clock(elapsed)}{ahead})"
            )

    def _estimate_s(self, elapsed: float) -> float:
        """Seconds left: what each stage took so far, shared by as many jobs as ran side by side."""
        known = [s for durations in self.seconds.values() for s in durations]
        side_by_side = max(1.0, sum(known) / elapsed)
        mean = sum(known) / len(known)
        left = 0.0
        for rule, total in self.planned.items():
            durations = self.seconds.get(rule)
            each = sum(durations) / len(durations) if durations else mean
            left += (total - self.finished[rule]) * each
        return left / side_by_side

    def _on_message(self, message: str) -> None:
        died = DIED.search(message)
        if died:
            # The note that the job could not write itself.
            key, name = died["key"], died["signal"]
            interrupted = name in {signum.name for signum in STOP_SIGNALS}
            error = f"{'stopped' if interrupted else 'killed'} by signal {name}"
            failure = {"run": key, "cell": None, "error": error, "interrupted": interrupted}
            records.write_json(records.failure_path(Path(), key), failure)
        elif not any(words in message for words in SAID_BETTER):
            self._say(message)

    def _on_error(self, record) -> None:
        rule, key = self.jobs.get(record.jobid, (record.rule_name, record.rule_name))
        note = records.failure_path(Path(), key)
        if not note.exists():
            why = processes.folder_trouble(Path()) or f"see logs/{key}.log"
            self._say(f"FAILED {key}: {why}")
            return
        failure = json.loads(note.read_text(encoding="utf-8"))
        what = "STOPPED" if failure["interrupted"] else "FAILED"
        cell = "" if failure["cell"] is None else f" cell {failure['cell']}:"
        page = Path(f"{key}.failed.html")
        seen = f" (see {page})" if page.exists() else ""
        self._say(f"{what} {key}:{cell} {failure['error']}{seen}")

    @property
    def writes_to_stream(self) -> bool:
        """This handler replaces Snakemake's own lines."""
        return True

    @property
    def writes_to_file(self) -> bool:
        """Snakemake's own log file is kept as it is."""
        return False

    @property
    def has_filter(self) -> bool:
        """Every event reaches `emit`."""
        return True

    @property
    def has_formatter(self) -> bool:
        """Lines are made in `emit`."""
        return True

    @property
    def needs_rulegraph(self) -> bool:
        """Not drawn."""
        return False
