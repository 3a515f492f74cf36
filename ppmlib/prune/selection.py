"""Which neurons stay, given their scores: the highest ones, ties to the lower index."""

import torch
from torch import Tensor


def select(layer_scores: Tensor, k: int) -> Tensor:
    """The k neurons of highest score, ties to the lower index: (k,) int64, ascending.

    Raises:
        ValueError: if k is not in 1..I or a score is not finite.
    """
    if not 1 <= k <= len(layer_scores):
        raise ValueError(f"cannot keep {k} of {len(layer_scores)} neurons")
    if not layer_scores.isfinite().all():
        raise ValueError("a score is not finite")
    order = torch.sort(layer_scores, descending=True, stable=True).indices
    return order[:k].sort().values


def select_layers(model_scores: Tensor, k: int) -> Tensor:
    """`select` in every layer: (num_layers, I) scores to (num_layers, k) int64 kept indices."""
    return torch.stack([select(layer_scores, k) for layer_scores in model_scores])


def count_ties_at_cut(layer_scores: Tensor, k: int) -> int:
    """How many neurons share the score at the cut when some of them stay and some go, else 0."""
    if k == len(layer_scores):
        return 0
    ordered = layer_scores.sort(descending=True).values
    if ordered[k - 1] != ordered[k]:
        return 0
    return int((layer_scores == ordered[k]).sum())
