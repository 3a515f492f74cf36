"""lm-eval's Hugging Face backend, taking notes, and one quiet, seeded call of its evaluator.

Importing this module imports lm-eval; `run` does so only when it evaluates.
"""

import contextlib
import random
import sys
from collections import defaultdict, deque
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from lm_eval import evaluator
from lm_eval.models.huggingface import HFLM

from ppmlib.evaluation.fast.greedy import end_tokens
from ppmlib.model.quiet import quiet_libraries

FIRST_TOKENS = 16  # how many ids of the first prompt the record shows
REMEMBERED = 8  # encoded texts kept for the next options of the same question
# lm-eval resamples the metrics that have no closed form this often; means have one.
BOOTSTRAP_ITERS = 1000


class RecordingLM(HFLM):
    """lm-eval's Hugging Face backend, taking notes of what it sends and receives.

    One number differs from the plain backend, and only with add_bos_token: a rolling
    log-likelihood starts with one BOS (the prefix token lm-eval puts there), not two of which the
    second is scored (lm-eval issue 3333).
    """

    model_type = "hf"

    def begin(self) -> None:
        """Forget the notes of the task before."""
        self.first_ids: list[int] | None = None
        self.bos_counts: set[int] = set()
        self.truncated = 0
        self.largest_batch = 0
        self.generated: dict[str, deque[tuple[int, bool]]] = defaultdict(deque)
        self.engine_notes: dict[str, Any] = {"engine": "plain"}
        self._first_context: str | None = None
        self._encoded: dict[tuple[str, bool | None], list[int]] = {}

    def tok_encode(self, string, add_special_tokens=None, left_truncate_len=None, **kwargs):
        """lm-eval's own; the options of a question share their prompt, which is encoded once."""
        if left_truncate_len or kwargs:
            return super().tok_encode(string, add_special_tokens, left_truncate_len, **kwargs)
        key = (string, self.add_bos_token if add_special_tokens is None else add_special_tokens)
        if key not in self._encoded:
            if len(self._encoded) == REMEMBERED:
                self._encoded.pop(next(iter(self._encoded)))
            self._encoded[key] = super().tok_encode(string, add_special_tokens)
        return self._encoded[key]

    def _note(self, ids: Sequence[int]) -> None:
        bos = self.tokenizer.bos_token_id
        leading = next((i for i, token in enumerate(ids) if token != bos), len(ids))
        self.bos_counts.add(leading)
        if self.first_ids is None:
            self.first_ids = list(ids[:FIRST_TOKENS])

    def loglikelihood_rolling(self, requests, disable_tqdm=True):
        """lm-eval's own, with the prefix token as the only BOS."""
        before, self.add_bos_token = self.add_bos_token, False
        try:
            return super().loglikelihood_rolling(requests, disable_tqdm=disable_tqdm)
        finally:
            self.add_bos_token = before

    def note_requests(self, requests) -> None:
        """Take notes of log-likelihood requests: (texts or None, context ids, continuation ids)."""
        for text, context, continuation in requests:
            if text is not None or self.first_ids is None:  # later rolling windows have no BOS
                self._note(context + continuation)
            self.truncated += len(context) + len(continuation) > self.max_length + 1

    def _loglikelihood_tokens(self, requests, disable_tqdm=True, override_bs=None):
        self.note_requests(requests)
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
        """Tokens up to the first end-of-text token or stop string, included; if there is one."""
        ends = end_tokens(self)
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


@contextlib.contextmanager
def seeded(seeds: Sequence[int]) -> Iterator[None]:
    """Seed random, numpy and torch with lm-eval's first three seeds; put all states back after.

    langdetect, which IFEval imports, gets seed 0: else the same response can score differently.
    """
    states = random.getstate(), np.random.get_state()
    langdetect = sys.modules.get("langdetect")
    if langdetect:
        factory = langdetect.DetectorFactory
        before, factory.seed = factory.seed, 0
    with torch.random.fork_rng():
        random.seed(seeds[0])
        np.random.seed(seeds[1])
        torch.manual_seed(seeds[2])
        try:
            yield
        finally:
            random.setstate(states[0])
            np.random.set_state(states[1])
            if langdetect:
                factory.seed = before


def run(
    lm: RecordingLM,
    task,
    *,
    indices: dict[str, list[int]] | None,
    seeds: Sequence[int],
    apply_chat_template: bool,
    system_instruction: str | None = None,
) -> dict[str, Any]:
    """One evaluation of one `tasks.LoadedTask`: lm-eval's results with its samples.

    `evaluate` and not `simple_evaluate`: the latter adds a second of environment reports, a
    network call and a date to the same numbers. Seeded here and not, as there, before the model is
    loaded: IFEval draws the letter to count where a document's own is none ('!', document 22), and
    on lm-eval's command line that draw depends on what was imported and loaded in between.
    """
    lm.begin()
    with quiet_libraries(), seeded(seeds), torch.inference_mode():
        return evaluator.evaluate(
            lm=lm,
            task_dict={"tasks": task.tasks, "groups": task.groups},
            samples=indices,
            bootstrap_iters=BOOTSTRAP_ITERS,
            log_samples=True,
            apply_chat_template=apply_chat_template,
            system_instruction=system_instruction,
            fewshot_as_multiturn=True,
        )
