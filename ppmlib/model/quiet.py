"""Contexts in which libraries neither log nor draw progress bars."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

import tqdm


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Silence lm-eval's, transformers', datasets' and the hub's chatter and every progress bar.

    lm-eval hard-codes its bars on, so bars are switched off where they are made.
    """
    names = ("lm_eval", "transformers", "datasets", "huggingface_hub")
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    make_bar = tqdm.std.tqdm.__init__

    def make_no_bar(bar, *args, **kwargs):
        make_bar(bar, *args, **{**kwargs, "disable": True})

    before = os.environ.get("DISABLE_MULTIPROC")
    os.environ["DISABLE_MULTIPROC"] = "1"  # lm-eval's bootstrap would fork all of torch
    tqdm.std.tqdm.__init__ = make_no_bar
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        tqdm.std.tqdm.__init__ = make_bar
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
        if before is None:
            del os.environ["DISABLE_MULTIPROC"]
        else:
            os.environ["DISABLE_MULTIPROC"] = before


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
