"""Logits of hidden states as a model's own forward pass gives them."""

from collections.abc import Callable

import torch
from torch import Tensor

Change = Callable[[Tensor], Tensor]


def _changes(config) -> list[Change]:
    """What families do to the logits of their output layer: nothing, a factor, a soft cap."""
    found: list[Change] = [lambda logits: logits]
    for name in ("logit_scale", "logits_scaling"):
        if (scale := getattr(config, name, None)) is not None:
            found.append(lambda logits, scale=scale: logits * scale)
            found.append(lambda logits, scale=scale: logits / scale)
    if (cap := getattr(config, "final_logit_softcapping", None)) is not None:
        found.append(lambda logits: torch.tanh(logits / cap) * cap)
    return found


class Head:
    """A model's output layer with what its family does to the logits."""

    def __init__(self, layer, change: Change):
        self.layer, self.change = layer, change
        self.weight = layer.weight

    def __call__(self, hidden: Tensor) -> Tensor:
        """Hidden states (..., hidden size) to logits (..., vocabulary)."""
        return self.change(self.layer(hidden))


def head_of(model, hidden: Tensor, logits: Tensor) -> Head | None:
    """The head that gives exactly these logits of these hidden states; None if none does."""
    layer = model.get_output_embeddings()
    heads = [Head(layer, change) for change in _changes(model.config.get_text_config())]
    return next((head for head in heads if torch.equal(head(hidden), logits)), None)
