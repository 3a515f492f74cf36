"""Greedy generation of many prompts: shared beginnings encoded once, finished rows replaced.

why_not   why a request needs lm-eval's own generation, if it does
Writer    writes responses
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ppmlib.evaluation.fast.prefixes import PrefixEncoder, families
from ppmlib.evaluation.fast.slots import RowSlots

GREEDY = {"do_sample": False, "temperature": 0.0}
# Settings of a model's generation that change nothing when it is greedy, or that lm-eval replaces.
HARMLESS = {
    "_from_model_config",
    "bos_token_id",
    "eos_token_id",
    "pad_token_id",
    "transformers_version",
    "use_cache",
    "do_sample",
    "temperature",
    "top_p",
    "top_k",
    "max_length",
}
REFILL_SHARE = 4  # prompts are encoded when this fraction of the rows is free
ROWS_BYTES = 2 * 2**30  # keys and values of all rows being written


def end_tokens(lm) -> set[int]:
    """The tokens that end a response: the tokenizer's and those of the model's generation."""
    return {lm.tokenizer.eos_token_id, *_generation_ends(lm)} - {None}


def why_not(lm, request: Mapping[str, Any], stop: Sequence[str]) -> str | None:
    """Why requests need lm-eval's own generation; None if greedy writing gives the same.

    Args:
        request: lm-eval's normalised settings of the requests, without stop strings and length.
        stop: their stop strings.
    """
    asked = {name: value for name, value in request.items() if GREEDY.get(name, ...) != value}
    if asked:
        return f"generation settings {', '.join(sorted(asked))}"
    differing = lm.model.generation_config.to_diff_dict()
    own = sorted(name for name, value in differing.items() if value and name not in HARMLESS)
    if own:
        return f"the model's generation settings {', '.join(own)}"
    if lm.think_end_token is not None:
        return "think_end_token"
    terms = [term for term in stop if term]
    # lm-eval lets a row run on until its batch is done, and cuts the text by one term after the
    # other: what these stop strings leave depends on the batch, which is here another one.
    for term in terms:
        if any(term in other[1:-1] for other in terms):
            return f"stop string {term!r} lies inside another one"
    special = set(lm.tokenizer.all_special_ids) - end_tokens(lm)
    names = {lm.tok_decode([token], skip_special_tokens=False) for token in special}
    if odd := sorted(name for name in names if any(name in term for term in terms)):
        return f"stop strings with the special token {odd[0]!r}"
    if lm.tokenizer.eos_token_id not in _generation_ends(lm):
        return "the model's generation does not end at the tokenizer's end-of-text token"
    if getattr(lm.tokenizer, "clean_up_tokenization_spaces", False) and any(
        " " in term for term in terms
    ):
        return "stop strings with spaces, which this tokenizer cleans up"
    return None


def _generation_ends(lm) -> list[int | None]:
    ends = lm.model.generation_config.eos_token_id
    return ends if isinstance(ends, list) else [ends]


@dataclass
class _Row:
    prompt: int  # its number
    tokens: list[int]  # written so far


class Writer:
    """Continues prompts with the most probable token until an end, a stop string or a limit.

    Args:
        lm: the backend, for its tokenizer and model.
        encoder: encodes the prompts.
        rows: the most rows at a time.
        stop: stop strings.
        new_tokens: the most tokens of a response.
    """

    def __init__(self, lm, encoder: PrefixEncoder, head, *, rows: int, stop, new_tokens: int):
        self.steps = 0
        self.most_rows = 0
        self._lm, self._encoder, self._head = lm, encoder, head
        self._decoder = lm.decoder
        self._limit, self._new_tokens = rows, new_tokens
        self._stop = [term for term in stop if term]
        self._window = max((len(term.encode()) for term in self._stop), default=0) + 4
        self._ends = end_tokens(lm)

    @torch.inference_mode()
    def write(self, prompts: Sequence[np.ndarray], done: Callable[[int, list[int]], None]) -> None:
        """Write a response to each prompt, the longest first; `done` gets its number and tokens."""
        waiting = sorted(range(len(prompts)), key=lambda i: (-len(prompts[i]), prompts[i].tolist()))
        capacity = len(prompts[waiting[0]]) + self._new_tokens
        slots: RowSlots | None = None
        rows: list[_Row] = []
        while waiting or rows:
            free = self._limit - len(rows)
            if waiting and (not rows or free * REFILL_SHARE >= self._limit):
                chosen = waiting[:free] if slots else waiting[:1]
                waiting = waiting[len(chosen) :]
                slots = self._begin(prompts, chosen, capacity, slots, rows)
                self.most_rows = max(self.most_rows, len(rows))
            else:
                self._step(slots, rows)
            self._retire(slots, rows, done)

    def _begin(self, prompts, chosen, capacity, slots, rows) -> RowSlots:
        def consume(hidden, parts):
            nonlocal slots
            ended = [part for part in parts if part.ended]
            if not ended:
                return
            if slots is None:
                # Measured on the first prompt, so that the rows stay within their bound.
                per_row = self._encoder.slots.bytes_per_token() * capacity
                self._limit = max(1, min(self._limit, ROWS_BYTES // per_row))
                slots = RowSlots(self._encoder.slots, self._lm.attention, self._limit, capacity)
            last = torch.tensor([part.rows[-1] for part in ended], device=hidden.device)
            tokens = self._head(hidden[last]).float().argmax(dim=-1).tolist()
            for part, token in zip(ended, tokens, strict=True):
                slots.add(self._encoder.slots, part.path)
                rows.append(_Row(chosen[part.sequence], [token]))

        batch = [prompts[number] for number in chosen]
        order = [number for family in families(batch) for number in family]
        self._encoder.encode(batch, [len(prompt) - 1 for prompt in batch], consume, order)
        return slots

    def _step(self, slots: RowSlots, rows: list[_Row]) -> None:
        positions, mask = slots.begin_step()
        ids = torch.tensor([[row.tokens[-1]] for row in rows], device=positions.device)
        hidden = self._decoder(
            input_ids=ids,
            position_ids=positions,
            attention_mask=mask,
            past_key_values=slots,
            use_cache=True,
        ).last_hidden_state
        slots.end_step()
        self.steps += 1
        for row, token in zip(
            rows, self._head(hidden[:, -1]).float().argmax(dim=-1).tolist(), strict=True
        ):
            row.tokens.append(token)

    def _retire(self, slots: RowSlots, rows: list[_Row], done) -> None:
        for number in reversed(range(len(rows))):
            row = rows[number]
            if not self._finished(row.tokens):
                continue
            done(row.prompt, row.tokens)
            slots.remove(number)
            rows[number] = rows[-1]
            rows.pop()

    def _finished(self, tokens: list[int]) -> bool:
        if tokens[-1] in self._ends or len(tokens) >= self._new_tokens:
            return True
        if not self._stop:
            return False
        # A stop string can only have been completed by the last token; what a look at the end
        # suggests is checked in the whole text, which is what lm-eval cuts.
        tail = self._lm.tok_decode(tokens[-self._window :])
        if not any(term in tail for term in self._stop):
            return False
        text = self._lm.tok_decode(tokens)
        return any(term in text for term in self._stop)
