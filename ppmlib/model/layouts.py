"""How model families name and store the projections of a GLU MLP, and where neurons lie in them.

Read without torch. A family whose projections have other names, but which computes

    mlp(x) = down(act(gate(x)) * up(x))

is a line in `LAYOUTS`; nothing else in the library knows these names.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple


class Place(NamedTuple):
    """Where a tensor belongs: its layer, its projection's name, and `weight` or `bias`."""

    layer: int
    projection: str
    kind: str


@dataclass(frozen=True)
class GluLayout:
    """The names of the projections in a GLU MLP.

    Where gate and up have one name, they are the halves of one fused matrix, gate first.
    """

    gate: str
    up: str
    down: str

    @property
    def is_fused(self) -> bool:
        """Whether gate and up are halves of one matrix."""
        return self.gate == self.up

    @property
    def names(self) -> tuple[str, ...]:
        """The projections, each once."""
        return tuple(dict.fromkeys((self.gate, self.up, self.down)))

    def shapes(self, neurons: int, hidden: int) -> dict[str, tuple[int, int]]:
        """The shape of every projection's weight."""
        rows = 2 * neurons if self.is_fused else neurons
        return {self.gate: (rows, hidden), self.up: (rows, hidden), self.down: (hidden, neurons)}

    def dim(self, projection: str, kind: str) -> int | None:
        """The dimension of a tensor along which the neurons lie; None: it has none."""
        if projection != self.down:
            return 0
        return 1 if kind == "weight" else None

    def kept_indices(self, projection: str, kept: Any, size: int) -> Any:
        """Indices that stay along that dimension, `size` long: in both halves of a fused matrix.

        Args:
            kept: (k,) ascending neurons, a tensor.
        """
        if not self.is_fused or projection == self.down:
            return kept
        return (kept + kept.new_tensor([[0], [size // 2]])).flatten()


LAYOUTS = (
    GluLayout("gate_proj", "up_proj", "down_proj"),
    GluLayout("gate_up_proj", "gate_up_proj", "down_proj"),
    GluLayout("w1", "w3", "w2"),
)
NAMES = "|".join(sorted({name for layout in LAYOUTS for name in layout.names}))
# No number but the layer's: projections of experts are numbered too.
TENSOR = re.compile(rf"(?:^|\.)layers\.(\d+)\.(?:[A-Za-z_]\w*\.)*({NAMES})\.(weight|bias)$")
COMPUTED_WIDTH = "block_auto_adjust_ff_dim"


def place(tensor: str) -> Place | None:
    """Where a tensor of a checkpoint belongs; None if it is no part of a GLU MLP."""
    found = TENSOR.search(tensor)
    return Place(int(found[1]), found[2], found[3]) if found else None


def find(names: Iterable[str]) -> GluLayout | None:
    """The layout whose projections are all among the names of a module's children."""
    names = set(names)
    return next((layout for layout in LAYOUTS if names.issuperset(layout.names)), None)


def find_in(tensors: Iterable[str]) -> GluLayout | None:
    """The layout of a checkpoint's tensors."""
    return find(found.projection for name in tensors if (found := place(name)))


def describe() -> str:
    """The names of all layouts, for messages."""
    return "; ".join(", ".join(layout.names) for layout in LAYOUTS)


def neurons(config: Mapping[str, Any]) -> Any:
    """Neurons per layer by a config.json, its text part; no whole number where it has none.

    That is `intermediate_size`, but LFM2 computes the width from it unless told not to.
    """
    size = config.get("intermediate_size")
    if config.get("model_type") != "lfm2":
        return size
    size = config.get("block_ff_dim", size)
    if not config.get(COMPUTED_WIDTH, True) or not isinstance(size, int):
        return size
    multiple = config.get("block_multiple_of", 256)
    try:
        size = int(config.get("block_ffn_dim_multiplier", 1.0) * int(2 * size / 3))
        return -(-size // multiple) * multiple
    except (TypeError, ValueError, ArithmeticError):
        return None


def width_settings(config: Any, width: int) -> dict[str, Any]:
    """What a configuration object must say for MLPs of this width."""
    settings = {"intermediate_size": width}
    return settings | ({COMPUTED_WIDTH: False} if hasattr(config, COMPUTED_WIDTH) else {})
