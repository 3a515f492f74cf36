"""Token sequences side by side in one forward pass, what they share encoded once.

families        sequences that share beginnings, as neighbours
encode_alone    runs a model over sequences that share nothing, padded, longest first
PrefixEncoder   runs a model over those that do, within a budget of tokens

Every token sees its own sequence and nothing else: its position is its place in that sequence, and
a mask hides the rest of the row. Keys and values of the path to the last sequence stay for the next
pass, so a few-shot header is encoded once, however many passes its documents take.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from ppmlib.evaluation.fast.masks import Attention, Mask
from ppmlib.evaluation.fast.slots import PathSlots

WORTH_SHARING = 16  # tokens; sequences that share fewer count as unrelated


def common_length(a: np.ndarray, b: np.ndarray) -> int:
    """How many tokens two sequences share at their beginning."""
    shorter = min(len(a), len(b))
    differing = np.flatnonzero(a[:shorter] != b[:shorter])
    return int(differing[0]) if len(differing) else shorter


def families(sequences: Sequence[np.ndarray]) -> list[list[int]]:
    """Numbers of sequences that share `WORTH_SHARING` tokens or more, longest family first.

    Inside a family each sequence follows the one it shares most with.
    """
    order = sorted(range(len(sequences)), key=lambda i: sequences[i].tolist())
    found: list[list[int]] = []
    for i in order:
        last = found[-1][-1] if found else None
        if last is None or common_length(sequences[last], sequences[i]) < WORTH_SHARING:
            found.append([])
        found[-1].append(i)
    return sorted(found, key=lambda family: -max(len(sequences[i]) for i in family))


@dataclass
class Part:
    """Where a sequence's wanted tokens are in a pass."""

    sequence: int  # its number
    rows: list[int]  # of the pass's hidden states, in order of position
    path: list[int]  # slots of all its tokens so far
    ended: bool  # whether its last token is among them


@dataclass
class Composition:
    """What was put into forward passes, counted."""

    sequences: int = 0
    tokens: int = 0  # of all sequences
    passes: list[tuple[int, int, int]] = field(default_factory=list)  # rows, sequences, tokens

    def summary(self) -> dict[str, int]:
        """Counts for the record."""
        return {
            "sequences": self.sequences,
            "tokens": self.tokens,
            "passes": len(self.passes),
            "tokens_encoded": sum(tokens for _, _, tokens in self.passes),
            "most_rows": max((rows for rows, _, _ in self.passes), default=0),
            "most_sequences": max((count for _, count, _ in self.passes), default=0),
            "most_tokens": max((tokens for _, _, tokens in self.passes), default=0),
        }


def encode_alone(
    decoder,
    sequences: Sequence[np.ndarray],
    wanted_from: Sequence[int],
    numbers: Sequence[int],
    consume: Callable[[Tensor, list[Part]], None],
    composition: Composition,
    *,
    pass_tokens: int,
    pass_rows: int,
) -> None:
    """Encode the sequences `numbers`, which share nothing, in padded rows; see `PrefixEncoder`."""
    waiting = sorted(numbers, key=lambda number: -len(sequences[number]))
    device = next(decoder.parameters()).device
    while waiting:
        longest = len(sequences[waiting[0]])
        count = min(pass_rows, max(1, pass_tokens // longest))
        rows, waiting = waiting[:count], waiting[count:]
        ids = np.zeros((len(rows), longest), dtype=np.int64)
        parts = []
        for row, number in enumerate(rows):
            sequence, start = sequences[number], row * longest
            ids[row, : len(sequence)] = sequence
            wanted = list(range(start + wanted_from[number], start + len(sequence)))
            path = list(range(start, start + len(sequence)))
            parts.append(Part(number, wanted, path, True))
            composition.sequences += 1
            composition.tokens += len(sequence)
        # Padding on the right is not seen by the tokens before it.
        hidden = decoder(input_ids=torch.from_numpy(ids).to(device), use_cache=False)
        composition.passes.append((len(rows), len(rows), ids.size))
        consume(hidden.last_hidden_state.flatten(0, 1), parts)


class PrefixEncoder:
    """Runs a model's decoder over sequences that share beginnings.

    Args:
        decoder: a causal LM without its head; takes masks of four dimensions and position ids.
        attention: how it attends.
        layers: how many layers it has.
        pass_tokens: the most of one forward pass, which is one row of tokens.
        longest: tokens of the longest sequence that will come.
    """

    def __init__(
        self, decoder, attention: Attention, layers: int, *, pass_tokens: int, longest: int
    ):
        self.slots = PathSlots(layers, longest + pass_tokens)
        self.composition = Composition()
        self._decoder, self._attention = decoder, attention
        self._device = next(decoder.parameters()).device
        self._pass_tokens = pass_tokens
        self._sequence = np.zeros(0, dtype=np.int64)
        self._path: list[int] = []
        self._slot_positions = np.zeros(0, dtype=np.int64)
        self._clear()

    def _clear(self) -> None:
        self._base = self.slots.length  # slots from here on are of this pass
        self._ids: list[np.ndarray] = []
        self._positions: list[np.ndarray] = []
        self._seen: list[tuple[int, int, list[int]]] = []  # first row, tokens, slots before them
        self._parts: list[Part] = []
        self._new = 0
        self._count = 0

    def encode(
        self,
        sequences: Sequence[np.ndarray],
        wanted_from: Sequence[int],
        consume: Callable[[Tensor, list[Part]], None],
        numbers: Sequence[int],
    ) -> None:
        """Encode sequences; `consume` gets each pass's hidden states (tokens, hidden) and parts.

        Args:
            sequences: token ids, not empty.
            wanted_from: by sequence, the position from which on hidden states are wanted.
            numbers: which sequences, in the order of `families`.
        """
        for number in numbers:
            self._add(number, sequences[number], wanted_from[number], consume)
        self._flush(consume)

    def _add(self, number: int, sequence: np.ndarray, wanted: int, consume) -> None:
        common = common_length(self._sequence, sequence)
        shared = common if wanted >= self._base else min(common, wanted)
        fits = self._new + len(sequence) - shared <= self._pass_tokens
        if self._count and not fits:
            self._flush(consume)
        if not self._count:
            # The hidden states of earlier passes are gone: what is wanted is encoded again.
            shared = min(common, wanted)
            self.slots.keep(self._path[:shared])
            self._path = list(range(shared))
            self._slot_positions = np.arange(shared)
            self._base = shared
        self.composition.sequences += 1
        self.composition.tokens += len(sequence)
        self._sequence, self._path = sequence, self._path[:shared]
        self._count += 1
        while True:
            self._append(sequence, number, wanted)
            if len(self._path) == len(sequence):
                break
            self._flush(consume)
            self._count = 1

    def _append(self, sequence: np.ndarray, number: int, wanted: int) -> None:
        start = len(self._path)
        end = min(len(sequence), start + self._pass_tokens - self._new)
        if end > start:
            self._seen.append((self._new, end - start, self._path))
            self._ids.append(sequence[start:end])
            self._positions.append(np.arange(start, end))
            first = self._base + self._new
            self._path = [*self._path, *range(first, first + end - start)]
            self._new += end - start
        # Positions before `start` that this pass holds were shared within it.
        rows = [slot - self._base for slot in self._path[wanted:] if slot >= self._base]
        self._parts.append(Part(number, rows, self._path, end == len(sequence)))

    def _flush(self, consume) -> None:
        if self._parts and self._new:
            ids = torch.from_numpy(np.concatenate(self._ids))[None].to(self._device)
            new = np.concatenate(self._positions)
            self._slot_positions = np.concatenate([self._slot_positions, new])
            positions = torch.from_numpy(new)[None].to(self._device)
            hidden = self._decoder(
                input_ids=ids,
                position_ids=positions,
                attention_mask=self._mask(),
                past_key_values=self.slots,
                use_cache=True,
            ).last_hidden_state[0]
            self.composition.passes.append((1, self._count, self._new))
            consume(hidden, self._parts)
        self._clear()

    def _mask(self) -> Mask | None:
        """Which slots each token of the pass may see; None: the model's own masks."""
        if len(self._seen) == 1 and self._base == 0:
            return None
        seen = np.zeros((self._new, self._base + self._new), dtype=bool)
        for row, tokens, before in self._seen:
            seen[row : row + tokens, before] = True
            own = self._base + row
            seen[row : row + tokens, own : own + tokens] = np.tri(tokens, dtype=bool)
        positions = torch.from_numpy(self._slot_positions)
        distance = positions[self._base :, None] - positions
        return self._attention.mask(
            torch.from_numpy(seen)[None, None].to(self._device), distance.to(self._device)
        )
