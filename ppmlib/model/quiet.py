"""Contexts in which libraries neither log nor draw progress bars."""

import contextlib
import io
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Silence the logs and progress bars of lm-eval, transformers, datasets and the hub.

    lm-eval cannot switch its bars off, so standard error is held back within the block; other
    lines, such as warnings, are written at its end.
    """
    names = ("lm_eval", "transformers", "datasets", "huggingface_hub")
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    before = os.environ.get("DISABLE_MULTIPROC")
    os.environ["DISABLE_MULTIPROC"] = "1"  # lm-eval's bootstrap would fork all of torch
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    written = io.StringIO()
    try:
        with contextlib.redirect_stderr(written):
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
        if before is None:
            del os.environ["DISABLE_MULTIPROC"]
        else:
            os.environ["DISABLE_MULTIPROC"] = before
        for line in written.getvalue().split("\n"):
            if line and "\r" not in line:  # a bar begins with a carriage return
                print(line, file=sys.stderr)


@contextmanager
def no_loading_bars() -> Iterator[None]:
    """No progress bars of transformers: noise in an executed notebook."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
