"""Which earlier tokens each token of a pass may see, in the form the model's attention takes.

A layer attends to all earlier tokens or to those within a sliding window. A model whose layers
differ takes one mask for each kind.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

Mask = Tensor | dict[str, Tensor]


@dataclass(frozen=True)
class Attention:
    """How a model attends.

    Args:
        kinds: `full_attention`, `sliding_attention` or both.
        window: tokens that a sliding layer sees, the token itself included; None without one.
        additive: dtype of masks that are added to the attention scores; None: bool masks (SDPA).
    """

    kinds: frozenset[str]
    window: int | None
    additive: torch.dtype | None

    def is_longer_than_window(self, length: int) -> bool:
        """Whether sliding layers do not see all of a sequence of this length."""
        return self.window is not None and length > self.window

    def mask(self, seen: Tensor, distance: Tensor) -> Mask:
        """What a forward pass takes as `attention_mask`.

        Args:
            seen: bool, (rows, 1, tokens, slots): the slots of the token's own sequence up to it.
            distance: integers that broadcast to `seen`: tokens from the slot to the token.
        """
        masks = {}
        for kind in self.kinds:
            sliding = kind == "sliding_attention"
            masks[kind] = self._form(seen & (distance < self.window) if sliding else seen)
        return masks if len(masks) > 1 else masks.popitem()[1]

    def _form(self, mask: Tensor) -> Tensor:
        if self.additive is None:
            return mask
        nothing = torch.zeros_like(mask, dtype=self.additive)
        return nothing.masked_fill(~mask, torch.finfo(self.additive).min)
