"""lm-eval's own objects: its tasks found and loaded, its Hugging Face backend with notes taken.

Importing this module imports lm-eval; `evaluation` does so only when it evaluates. Task
definitions and scores are lm-eval's own, untouched; what is added is only looked on.
"""

import contextlib
import logging
import os
import random
import re
from collections import defaultdict, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any

import lm_eval.tasks
import numpy as np
import torch
import tqdm
from lm_eval import evaluator
from lm_eval.api.group import Group
from lm_eval.api.task import Task
from lm_eval.models.huggingface import HFLM
from lm_eval.models.utils import normalize_gen_kwargs
from lm_eval.tasks import TaskManager

from ppmlib.samples import EvaluationError

FIRST_TOKENS = 16  # how many ids of the first prompt the record shows
# lm-eval resamples the metrics that have no closed form this often; means have one.
BOOTSTRAP_ITERS = 1000
NEW_TOKENS = 256  # lm-eval's own limit where a task sets none


@dataclass
class LoadedTask:
    """A task, or a group with its tasks in lm-eval's order, ready to be evaluated."""

    name: str
    tasks: dict[str, Task]
    groups: dict[str, Group]

    @property
    def group(self) -> Group | None:
        """The group of this name, or None for a single task."""
        return self.groups.get(self.name)

    @property
    def output_type(self) -> str:
        """lm-eval's output type; a group's tasks joined by commas if they differ."""
        return ",".join(sorted({task.OUTPUT_TYPE for task in self.tasks.values()}))


@cache
def _named_files() -> dict[str, Path]:
    """Every task and group name that lm-eval's YAML files declare, by a scan of their text.

    Two seconds where TaskManager(), which parses all of them, takes eight.
    """
    declares = re.compile(r"^(?:task|group):[ \t]*[\"']?([\w.:-]+)[\"']?[ \t]*$", re.MULTILINE)
    found: dict[str, Path] = {}
    for file in sorted(Path(lm_eval.tasks.__file__).parent.rglob("*.yaml")):
        for name in declares.findall(file.read_text(encoding="utf-8")):
            found.setdefault(name, file)
    return found


def _members(manager: TaskManager, name: str) -> list[str]:
    """Names a group refers to, at any depth, itself included."""
    entry = manager.task_index.get(name)
    listed = (entry.cfg or {}).get("task") if entry and entry.kind.name == "GROUP" else None
    below = listed if isinstance(listed, list) else []
    names = [item if isinstance(item, str) else item.get("task") for item in below]
    return [name, *(deep for item in names if item for deep in _members(manager, item))]


def task_manager(name: str, folders: Sequence[Path]) -> TaskManager:
    """A manager that knows a task and, of a group, all its members; only their folders are read.

    Raises:
        EvaluationError: if no task or group has this name; it names the most similar ones.
    """
    own = TaskManager(include_path=list(folders), include_defaults=False)
    if name in own.task_index:
        return own
    files = _named_files()
    if name not in files:
        similar = get_close_matches(name, [*own.all_tasks, *files], n=5)
        names = ", ".join(similar) or ", ".join(own.all_tasks)
        raise EvaluationError(f"no task {name!r}; similar or known: {names}")
    wanted, read = {files[name].parent}, set()
    while wanted - read:
        read |= wanted
        manager = TaskManager(include_path=sorted(read), include_defaults=False)
        missing = {n for n in _members(manager, name) if n not in manager.task_index}
        wanted = {files[n].parent for n in missing if n in files}
    if missing:
        return TaskManager()
    return manager


def load(
    name: str,
    *,
    num_fewshot: int,
    fewshot_seed: int,
    generation: Mapping[str, int] | None,
    folders: Sequence[Path],
) -> LoadedTask:
    """Load a task or group by its lm-eval name, as lm-eval's `simple_evaluate` prepares it.

    Args:
        num_fewshot: examples in the prompt; a task whose own definition says 0 cannot take more.
        generation: `{max_gen_toks: N}` lowers the number of new tokens of generation tasks.
        folders: task folders looked in before lm-eval's own.
    Raises:
        EvaluationError: for an unknown task, a tag, or a number of examples the task refuses.
    """
    manager = task_manager(name, folders)
    with quiet():
        found = manager.load([name])
    loaded = LoadedTask(name, found["tasks"], found.get("groups", {}))
    if loaded.group is None and list(loaded.tasks) != [name]:
        raise EvaluationError(
            f"{name!r} is a tag, not a task: name its tasks, {list(loaded.tasks)}"
        )
    for task_name, task in loaded.tasks.items():
        if task.get_config("num_fewshot") == 0 and num_fewshot:
            raise EvaluationError(
                f"{task_name}: its definition fixes 0 examples, num_fewshot {num_fewshot} would "
                "be ignored; set num_fewshot to 0"
            )
        task.set_config("num_fewshot", num_fewshot)
        task.set_fewshot_seed(fewshot_seed)
        if generation and task.OUTPUT_TYPE == "generate_until":
            lowered = min(generation["max_gen_toks"], new_tokens(task))
            task.set_config("generation_kwargs", {"max_gen_toks": lowered}, update=True)
    return loaded


def new_tokens(task: Task) -> int:
    """The most tokens a generation task lets the model write."""
    kwargs = task.get_config("generation_kwargs") or {}
    return normalize_gen_kwargs(kwargs, NEW_TOKENS)["max_gen_toks"]


class RecordingLM(HFLM):
    """lm-eval's Hugging Face backend, taking notes of what it sends and receives.

    One number differs from the plain backend, and only with add_bos_token: a rolling
    log-likelihood starts with one BOS (the prefix token lm-eval puts there), not two of which the
    second is scored (lm-eval issue 3333).
    """

    def begin(self) -> None:
        """Forget the notes of the task before."""
        self.first_ids: list[int] | None = None
        self.bos_counts: set[int] = set()
        self.truncated = 0
        self.largest_batch = 0
        self.generated: dict[str, deque[tuple[int, bool]]] = defaultdict(deque)
        self._first_context: str | None = None

    def _note(self, ids: Sequence[int]) -> None:
        bos = self.tokenizer.bos_token_id
        leading = next((i for i, token in enumerate(ids) if token != bos), len(ids))
        self.bos_counts.add(leading)
        if self.first_ids is None:
            self.first_ids = list(ids[:FIRST_TOKENS])

    def loglikelihood_rolling(self, requests, disable_tqdm=True):
        """lm-eval's own, with the prefix token as the only BOS."""
        asked, self.add_bos_token = self.add_bos_token, False
        try:
            return super().loglikelihood_rolling(requests, disable_tqdm=disable_tqdm)
        finally:
            self.add_bos_token = asked

    def _loglikelihood_tokens(self, requests, disable_tqdm=True, override_bs=None):
        for text, context, continuation in requests:
            if text is not None or self.first_ids is None:  # later rolling windows have no BOS
                self._note(context + continuation)
            self.truncated += len(context) + len(continuation) > self.max_length + 1
        return super()._loglikelihood_tokens(requests, disable_tqdm, override_bs)

    def _model_call(self, inps, attn_mask=None, labels=None):
        self.largest_batch = max(self.largest_batch, inps.shape[0])
        return super()._model_call(inps, attn_mask, labels)

    def generate_until(self, requests, disable_tqdm=True):
        """lm-eval's own; afterwards `generated` holds (tokens, stopped) for each prompt."""
        self._first_context = requests[0].args[0]
        return super().generate_until(requests, disable_tqdm=disable_tqdm)

    def tok_batch_encode(
        self, strings, padding_side="left", left_truncate_len=None, truncation=False
    ):
        """lm-eval's own, counting the prompts that lose their beginning."""
        ids, mask = super().tok_batch_encode(strings, padding_side, None, truncation)
        for text, row, real in zip(strings, ids, mask.bool(), strict=True):
            tokens = row[real].tolist()
            if text == self._first_context:
                self.first_ids, self._first_context = tokens[:FIRST_TOKENS], None
            first = self.first_ids
            self._note(tokens)
            self.first_ids = first
            self.truncated += bool(left_truncate_len) and len(tokens) > left_truncate_len
        self._contexts = strings
        keep = slice(-left_truncate_len, None) if left_truncate_len else slice(None)
        return ids[:, keep], mask[:, keep]

    def _model_generate(self, context, max_length, stop, **generation_kwargs):
        self.largest_batch = max(self.largest_batch, context.shape[0])
        out = super()._model_generate(context, max_length, stop, **generation_kwargs)
        for text, row in zip(self._contexts, out[:, context.shape[1] :].tolist(), strict=True):
            self.generated[text].append(self._ending(row, stop))
        return out

    def _ending(self, row: list[int], stop: list[str]) -> tuple[int, bool]:
        """Tokens written up to and including the end, and whether the model ended by itself.

        It ended by itself if it wrote an end-of-text token or a stop string of the task.
        """
        ends = self.model.generation_config.eos_token_id
        ends = {self.tokenizer.eos_token_id, *(ends if isinstance(ends, list) else [ends])}
        eos = next((i for i, token in enumerate(row) if token in ends), None)
        row = row if eos is None else row[: eos + 1]

        def holds_stop(length: int) -> bool:
            text = self.tok_decode(row[:length])
            return any(term in text for term in stop if term)

        if not holds_stop(len(row)):
            return len(row), eos is not None
        low, high = 1, len(row)
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if holds_stop(middle) else (middle + 1, high)
        return low, True


def backend(
    model,
    tokenizer,
    *,
    batch_size: int,
    add_bos_token: bool,
    max_length: int | None,
    softmax_dtype: str | None,
) -> RecordingLM:
    """The backend of one model, with the batch size set where lm-eval reads it: on the model.

    Raises:
        EvaluationError: if the backend did not take the batch size.
    """
    with quiet():
        lm = RecordingLM(
            pretrained=model,
            tokenizer=tokenizer,
            batch_size=batch_size,
            add_bos_token=add_bos_token,
            max_length=max_length,
            softmax_dtype=softmax_dtype,
        )
    if lm.batch_size != batch_size:
        raise EvaluationError(f"lm-eval runs batches of {lm.batch_size}, not {batch_size}")
    return lm


@contextlib.contextmanager
def seeded(seeds: Sequence[int]) -> Iterator[None]:
    """Seed random, numpy and torch with lm-eval's first three seeds; put all states back after."""
    states = random.getstate(), np.random.get_state()
    with torch.random.fork_rng():
        random.seed(seeds[0])
        np.random.seed(seeds[1])
        torch.manual_seed(seeds[2])
        try:
            yield
        finally:
            random.setstate(states[0])
            np.random.set_state(states[1])


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence lm-eval's, transformers' and datasets' chatter and every progress bar.

    lm-eval hard-codes its bars on, so bars are switched off where they are made.
    """
    loggers = [logging.getLogger(name) for name in ("lm_eval", "transformers", "datasets")]
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


def run(
    lm: RecordingLM,
    loaded: LoadedTask,
    *,
    indices: dict[str, list[int]] | None,
    seeds: Sequence[int],
    apply_chat_template: bool,
) -> dict[str, Any]:
    """One evaluation of one task or group: lm-eval's results with its samples.

    `evaluate` and not `simple_evaluate`: the latter adds a second of environment reports, a
    network call and a date to the same numbers.
    """
    lm.begin()
    with quiet(), seeded(seeds), torch.inference_mode():
        return evaluator.evaluate(
            lm=lm,
            task_dict={"tasks": loaded.tasks, "groups": loaded.groups},
            samples=indices,
            bootstrap_iters=BOOTSTRAP_ITERS,
            log_samples=True,
            apply_chat_template=apply_chat_template,
            fewshot_as_multiturn=True,
        )
