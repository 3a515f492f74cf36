"""Keys and values of attention in buffers allocated once, for `engine: fast`.

PathSlots   one row: tokens of many requests side by side, cut back to a shared prefix
RowSlots    many rows of different lengths, each growing at its own end
"""

import torch
from torch import Tensor
from transformers.cache_utils import Cache, DynamicLayer

from ppmlib.evaluation.fast.masks import Attention, Mask


class _PathLayer(DynamicLayer):
    """One layer's slots of one row; new tokens are written behind those that are there."""

    def __init__(self, capacity: int):
        super().__init__()
        self.capacity, self.length = capacity, 0

    def update(self, key_states: Tensor, value_states: Tensor, *args, **kwargs):
        """Append; returns all keys and values so far, (1, heads, length, head size)."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
            batch, heads, _, size = key_states.shape
            self.keys = key_states.new_empty(batch, heads, self.capacity, size)
            self.values = value_states.new_empty(batch, heads, self.capacity, value_states.shape[3])
        end = self.length + key_states.shape[2]
        self.keys[:, :, self.length : end] = key_states
        self.values[:, :, self.length : end] = value_states
        self.length = end
        return self.keys[:, :, :end], self.values[:, :, :end]

    def get_seq_length(self) -> int:
        """How many slots are filled."""
        return self.length


class PathSlots(Cache):
    """The keys and values of one row of tokens, in all layers.

    Args:
        layers: how many layers the model has.
        capacity: how many tokens it can hold.
    """

    def __init__(self, layers: int, capacity: int):
        super().__init__(layers=[_PathLayer(capacity) for _ in range(layers)])
        self.capacity = capacity

    @property
    def length(self) -> int:
        """How many slots are filled."""
        return self.layers[0].length

    def keep(self, slots: list[int]) -> None:
        """Forget all slots but these, ascending, which then are 0..len(slots)-1."""
        moved = [slot for place, slot in enumerate(slots) if slot != place]
        still = len(slots) - len(moved)
        for layer in self.layers:
            if moved:
                index = torch.tensor(moved, device=layer.keys.device)
                for buffer in (layer.keys, layer.values):
                    buffer[:, :, still : len(slots)] = buffer[:, :, index]
            layer.length = len(slots)

    def bytes_per_token(self) -> int:
        """Bytes of one slot in all layers, counted from the buffers."""
        first = self.layers[0]
        one = first.keys[:, :, :1].nbytes + first.values[:, :, :1].nbytes
        return one * len(self.layers)


class _RowLayer(DynamicLayer):
    """One layer's slots of many rows; each row has its own length, kept by `RowSlots`."""

    def __init__(self, keys: Tensor, values: Tensor, rows: "RowSlots"):
        super().__init__()
        self.lazy_initialization(keys, values)
        self.keys, self.values, self._rows = keys, values, rows

    def update(self, key_states: Tensor, value_states: Tensor, *args, **kwargs):
        """Write one token behind each row; returns the slots up to the longest row."""
        rows = self._rows
        self.keys[rows.index, :, rows.lengths] = key_states[:, :, 0]
        self.values[rows.index, :, rows.lengths] = value_states[:, :, 0]
        return self.keys[: rows.count, :, : rows.longest], (
            self.values[: rows.count, :, : rows.longest]
        )

    def get_seq_length(self) -> int:
        """Slots before the token being written, of the longest row."""
        return self._rows.longest - 1


class RowSlots(Cache):
    """The keys and values of rows that are being continued, one token per row and step.

    Args:
        like: slots of the same model that have been used, for sizes and dtypes.
        attention: how the model attends.
        rows, capacity: the most rows at a time, and the most tokens of a row.
    """

    def __init__(self, like: PathSlots, attention: Attention, rows: int, capacity: int):
        self._attention = attention
        layers = []
        for layer in like.layers:
            shape = (rows, layer.keys.shape[1], capacity)
            # Zeros, not whatever was in memory: a masked slot that holds NaN still spoils a row.
            keys = layer.keys.new_zeros(*shape, layer.keys.shape[3])
            values = layer.values.new_zeros(*shape, layer.values.shape[3])
            layers.append(_RowLayer(keys, values, self))
        super().__init__(layers=layers)
        self._lengths: list[int] = []
        self._device = layers[0].keys.device

    @property
    def count(self) -> int:
        """How many rows there are."""
        return len(self._lengths)

    def add(self, source: PathSlots, path: list[int]) -> None:
        """A new row whose tokens are the slots `path` of `source`."""
        index = torch.tensor(path, device=self._device)
        for own, other in zip(self.layers, source.layers, strict=True):
            own.keys[self.count, :, : len(path)] = other.keys[0].index_select(1, index)
            own.values[self.count, :, : len(path)] = other.values[0].index_select(1, index)
        self._lengths.append(len(path))

    def remove(self, row: int) -> None:
        """Drop a row; the last row takes its number."""
        last = self.count - 1
        if row != last:
            length = self._lengths[last]
            for layer in self.layers:
                layer.keys[row, :, :length] = layer.keys[last, :, :length]
                layer.values[row, :, :length] = layer.values[last, :, :length]
            self._lengths[row] = length
        self._lengths.pop()

    def begin_step(self) -> tuple[Tensor, Mask | None]:
        """Positions (rows, 1) of the tokens to come, and which slots each may see.

        The mask is None where all rows are equally long and within the window.
        """
        self.lengths = torch.tensor(self._lengths, device=self._device)
        self.index = torch.arange(self.count, device=self._device)
        self.longest = max(self._lengths) + 1
        positions = self.lengths[:, None]
        equal = min(self._lengths) + 1 == self.longest
        if equal and not self._attention.is_longer_than_window(self.longest):
            return positions, None
        distance = (positions - torch.arange(self.longest, device=self._device))[:, None, None, :]
        return positions, self._attention.mask(distance >= 0, distance)

    def end_step(self) -> None:
        """Every row has grown by one token."""
        self._lengths = [length + 1 for length in self._lengths]
