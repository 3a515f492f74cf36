"""A model's scores by one or several criteria, its weights read once for all of them.

Computed in float32 whatever the weights' dtype, as the published code does, but without a float32
copy of a whole matrix (`weight_rows`).
"""

import importlib.util
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

from ppmlib.model.glu import glu_mlps
from ppmlib.prune import weight_rows
from ppmlib.prune.scores import CRITERIA, RANDOM, check_finite, check_shapes, random_scores
from ppmlib.study_file.params import refuse_alike
from ppmlib.study_file.selection import selection_slug


@torch.no_grad()
def score_model(model: nn.Module, criterion: str, seed: int = 0) -> Tensor:
    """Score every GLU neuron of a model.

    Args:
        criterion: a key of `CRITERIA`, `random`, or `file.py:function` (see `custom`).
        seed: of `random` only.
    Returns:
        (num_layers, intermediate_size) float32 on the CPU.
    Raises:
        ValueError: for an unknown criterion, a weight or a score that is not finite, or a custom
            function that does not give one value per neuron; the message names it.
    """
    mlps = glu_mlps(model)
    if criterion == RANDOM:
        width = mlps[0].gate.out_features
        return torch.stack([random_scores(width, seed, mlp.layer) for mlp in mlps])
    if ".py:" in criterion:
        function = custom(criterion)
        return torch.stack([_custom_scores(criterion, function, mlp) for mlp in mlps])
    if criterion not in CRITERIA:
        known = ", ".join([*CRITERIA, RANDOM])
        raise ValueError(f"unknown criterion {criterion!r}: use {known} or file.py:function")
    if criterion in RAW:
        return _read_once(mlps, [criterion])[criterion]
    function = CRITERIA[criterion]
    return torch.stack([function(mlp.gate.weight, mlp.up.weight).cpu() for mlp in mlps])


@torch.no_grad()
def score_many(
    model: nn.Module, criteria: Iterable[str], seeds: Iterable[int] = ()
) -> dict[str, Tensor]:
    """Scores by selection name: one entry per criterion, and `random-s<seed>` per seed.

    The weights are read once for all built-in criteria.

    Raises:
        ValueError: as `score_model`, or for two criteria of one selection name.
    """
    criteria = list(criteria)
    refuse_alike("criteria", criteria, selection_slug)
    together = [criterion for criterion in criteria if criterion in RAW]
    found = _read_once(glu_mlps(model), together)
    scored = {
        selection_slug(criterion): found[criterion]
        if criterion in found
        else score_model(model, criterion)
        for criterion in criteria
    }
    for seed in seeds:
        scored[selection_slug(RANDOM, seed)] = score_model(model, RANDOM, seed)
    return scored


def custom(criterion: str) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """The function that `path/to/file.py:function` names: (gate, up, down) -> one value per neuron.

    It gets the weights as they were loaded, (I, h), (I, h) and (h, I). A relative path counts from
    the working directory, which in a study is the study's folder.

    Raises:
        ValueError: naming the file, if it or its function does not exist.
    """
    path, _, name = criterion.rpartition(":")
    file = Path(path).expanduser()
    if not file.is_file():
        raise ValueError(f"criterion {criterion!r}: there is no file {path!r}")
    spec = importlib.util.spec_from_file_location(file.stem, file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    function = getattr(module, name, None)
    if not callable(function):
        raise ValueError(f"criterion {criterion!r}: {file.name} has no function {name!r}")
    return function


def _read_once(mlps: Sequence, criteria: Sequence[str]) -> dict[str, Tensor]:
    """(L, I) float32 scores of each built-in criterion, on the CPU.

    Values are checked only after the last layer is read, so that a GPU is waited for once.
    """
    for mlp in mlps:
        with _naming(mlp.layer):
            check_shapes(mlp.gate.weight, mlp.up.weight)
    weights = [weight for mlp in mlps for weight in (mlp.gate.weight, mlp.up.weight)]
    read = weight_rows.read(weights, [RAW[criterion][0] for criterion in criteria])
    scored = {}
    # A few thousand sums need no second thread, which would then busy-wait for more work.
    with weight_rows.one_torch_thread():
        for criterion in criteria:
            reading, join = RAW[criterion]
            gates, ups = (_stacked(read[reading][first::2]) for first in (0, 1))
            scored[criterion] = join(gates, ups).cpu()
            finite = scored[criterion].isfinite().all(dim=1)
            if not finite.all():
                layer = int((~finite).nonzero()[0])
                with _naming(mlps[layer].layer):
                    check_finite(scored[criterion][layer])
    return scored


@contextmanager
def _naming(layer: int) -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise ValueError(f"layer {layer}: {error}") from None


def _stacked(of_layers: Sequence[tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
    # The layers of a model may be spread over devices: take the first one's.
    first = of_layers[0][0].device
    return tuple(
        torch.stack([each.to(first) for each in values]) for values in zip(*of_layers, strict=True)
    )


def _peak_to_peak(gate: tuple[Tensor, Tensor], up: tuple[Tensor, Tensor]) -> Tensor:
    (gate_high, gate_low), (up_high, up_low) = gate, up
    return (gate_high.float() + gate_low.float().abs()) + (up_high.float() + up_low.float().abs())


def _negative_peak_to_peak(gate: tuple[Tensor, Tensor], up: tuple[Tensor, Tensor]) -> Tensor:
    return -_peak_to_peak(gate, up)


def _sum(gate: tuple[Tensor], up: tuple[Tensor]) -> Tensor:
    return gate[0] + up[0]


def _product(gate: tuple[Tensor], up: tuple[Tensor]) -> Tensor:
    return gate[0] * up[0]


# Criteria whose weights are read in one pass: the statistics of a matrix's rows, and how a neuron's
# two rows make its score. Any other criterion is computed by its definition in `scores`.
RAW = {
    "ppm": (weight_rows.EXTREMES, _peak_to_peak),
    "l2": (weight_rows.NORM2, _sum),
    "vow": (weight_rows.VARIANCE, _sum),
    "pon": (weight_rows.NORM1, _product),
    "inverse": (weight_rows.EXTREMES, _negative_peak_to_peak),
}


def _custom_scores(criterion: str, function: Callable, mlp) -> Tensor:
    scores = function(mlp.gate.weight, mlp.up.weight, mlp.down.weight)
    where = f"criterion {criterion!r}, layer {mlp.layer}"
    width = mlp.gate.out_features
    if not isinstance(scores, Tensor) or scores.shape != (width,):
        got = tuple(scores.shape) if isinstance(scores, Tensor) else type(scores).__name__
        raise ValueError(f"{where}: expected a tensor of {width} values, got {got}")
    scores = scores.detach().to("cpu", torch.float32)
    if not scores.isfinite().all():
        raise ValueError(f"{where}: a score is not finite")
    return scores
