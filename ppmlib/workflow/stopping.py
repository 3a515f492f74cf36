"""A job stops at the first stop signal, or at its time limit."""

import contextlib
import signal
from collections.abc import Iterator

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)


class Stopped(BaseException):
    """The scheduler, a person or the death of the engine stopped this job."""


class TimeLimit(Stopped):
    """The notebook took longer than the study file allows."""


@contextlib.contextmanager
def stopped_in_time(limit_minutes: float | None) -> Iterator[None]:
    """Raise Stopped in the block on the first stop signal, TimeLimit at its time limit.

    Afterwards these signals are ignored, so that the partial notebook can be written.
    """

    def stop(signum, _frame):
        _ignore_signals()
        if signum == signal.SIGALRM:
            raise TimeLimit(
                f"stopped at its time limit of {limit_minutes:g} minutes; "
                "raise limits: {notebook_minutes: N} in the study file"
            )
        raise Stopped(f"stopped by signal {signal.Signals(signum).name}")

    for signum in (*STOP_SIGNALS, signal.SIGALRM):
        signal.signal(signum, stop)
    signal.setitimer(signal.ITIMER_REAL, 60 * (limit_minutes or 0))  # 0: no limit
    try:
        yield
    finally:
        _ignore_signals()


def _ignore_signals() -> None:
    signal.setitimer(signal.ITIMER_REAL, 0)
    for signum in (*STOP_SIGNALS, signal.SIGALRM):
        signal.signal(signum, signal.SIG_IGN)
