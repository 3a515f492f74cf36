"""Damage without narrowing: Gaussian noise on the GLU weights at full width.

A control: the noise is tuned until the model's word perplexity on calibration text equals that of a
pruned model, so that what still differs is due to the narrowing and not to the amount of damage.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from ppmlib.model import glu, models
from ppmlib.prune import calibration, kept_neurons, slicing
from ppmlib.prune.scores import make_generator
from ppmlib.study_file.selection import NOISE, Selection

FIRST_SIGMA, LARGEST_SIGMA = 0.1, 12.8
SIGMA_TOLERANCE = 1e-3  # relative, of the root
MATCH_TOLERANCE = 0.01  # relative, of the perplexities
MATRICES = ("gate", "up", "down")


class NoiseError(Exception):
    """No noise does the damage asked for; the message gives the perplexities."""


def draw_noise(shape: torch.Size, *, seed: int, layer: int, matrix: str) -> Tensor:
    """The noise of one matrix, float32 on the CPU: the same on every device, at every sigma."""
    return torch.randn(shape, generator=make_generator(f"noise {seed} layer {layer} {matrix}"))


@torch.no_grad()
def add_noise(model: nn.Module, sigma: float, seed: int) -> None:
    """Add noise to every GLU matrix, in place: W + sigma * std(W) * N(0, 1), rounded to W's dtype.

    Args:
        sigma: relative to the standard deviation of each matrix.
    Raises:
        ValueError: if sigma is not a finite number of at least 0.
    """
    if not 0 <= sigma < math.inf:
        raise ValueError(f"sigma {sigma} is not a finite number of at least 0")
    for mlp in glu.glu_mlps(model):
        for matrix in MATRICES:
            weight = getattr(mlp, matrix).weight
            noise = draw_noise(weight.shape, seed=seed, layer=mlp.layer, matrix=matrix)
            spread = weight.float().std()
            weight.copy_(weight.float() + sigma * spread * noise.to(weight.device))


@dataclass(frozen=True)
class Matched:
    """Noise that does as much damage as pruning: word perplexities on the calibration text.

    `trials` are the (sigma, word_perplexity) that were tried, in order; `batch_size` is that of all
    of them where memory did not allow what was asked for.
    """

    sigma: float
    seed: int
    word_perplexity_dense: float
    word_perplexity_pruned: float
    word_perplexity_noise: float
    trials: tuple[tuple[float, float], ...]
    batch_size: int | None = None

    def results(self) -> dict[str, Any]:
        """Plain JSON for a record."""
        found = {**vars(self), "trials": [list(trial) for trial in self.trials]}
        return {name: value for name, value in found.items() if value is not None}


def match_noise(
    model: nn.Module, lm, keep: Tensor, text: calibration.Text, *, seed: int
) -> Matched:
    """Tune sigma until the noisy model's word perplexity equals the pruned one's.

    Brent's root search over sigma for the difference of the logarithms, from a bracket that is
    doubled until it contains the root; the noise itself is the same at every sigma.

    Args:
        model: dense; put back as it was at the end.
        lm: a backend of `evaluation.harness` over the same model; where its batches do not fit into
            memory, all is measured again in halves of them.
        keep: (num_layers, k) neurons that the pruned model keeps.
    Raises:
        NoiseError: if pruning did no damage on this text, no sigma matches it, or memory does not
            hold one document.
    """
    asked = lm.batch_size
    while True:
        try:
            found = _tune(model, lm, keep, text, seed)
            break
        except torch.OutOfMemoryError as error:
            if lm.batch_size == 1:
                raise NoiseError(
                    f"out of memory with one document of {text.name} at a time: set max_length"
                ) from error
            lm.batch_size_per_gpu = lm.batch_size // 2
    return found if lm.batch_size == asked else replace(found, batch_size=lm.batch_size)


def _tune(model: nn.Module, lm, keep: Tensor, text: calibration.Text, seed: int) -> Matched:
    from scipy.optimize import brentq

    trials: list[tuple[float, float]] = []
    with _put_back(model) as put_back:
        dense = calibration.log_perplexity(lm, text)
        slicing.zero_neurons(model, keep)
        target = calibration.log_perplexity(lm, text)
        put_back()
        before = f"{math.exp(dense):.4g} before and {math.exp(target):.4g} after pruning"
        if target <= dense:
            raise NoiseError(f"pruning did no damage to match: word perplexity is {before}")

        @cache
        def excess(sigma: float) -> float:
            add_noise(model, sigma, seed)
            value = calibration.log_perplexity(lm, text)
            put_back()
            trials.append((sigma, math.exp(value)))
            return value - target

        high = FIRST_SIGMA
        while excess(high) < 0:
            high *= 2
            if high > LARGEST_SIGMA:
                raise NoiseError(f"no noise does as much damage: word perplexity is {before}")
        low = 0.0 if high == FIRST_SIGMA else high / 2
        sigma = brentq(excess, low, high, rtol=SIGMA_TOLERANCE, xtol=SIGMA_TOLERANCE * FIRST_SIGMA)
        reached = excess(sigma) + target
    if abs(math.expm1(reached - target)) > MATCH_TOLERANCE:
        raise NoiseError(
            f"noise comes no closer than {math.exp(reached):.4g}: word perplexity is {before}"
        )
    perplexities = [math.exp(value) for value in (dense, target, reached)]
    return Matched(sigma, seed, *perplexities, tuple(trials))


@contextmanager
def _put_back(model: nn.Module) -> Iterator:
    """A function that restores every GLU matrix; it is called once more at the end."""
    weights = [getattr(mlp, name).weight for mlp in glu.glu_mlps(model) for name in MATRICES]
    originals = [weight.detach().clone() for weight in weights]

    @torch.no_grad()
    def put_back() -> None:
        for weight, original in zip(weights, originals, strict=True):
            weight.copy_(original)

    try:
        yield put_back
    finally:
        put_back()


def inputs(
    identity: dict[str, Any],
    *,
    matched: kept_neurons.Kept,
    wanted: Selection,
    text: calibration.Text,
    settings: dict[str, Any],
) -> dict[str, Any]:
    """What decides the tuned noise: the inputs of its record.

    A packaged model's tokenizer comes with its weights; a single thread is what a study has unless
    it says otherwise.
    """
    read = {} if identity["synthetic"] else {"tokenizer_sha256": identity["tokenizer_sha256"]}
    if identity["threads"] not in (None, 1):
        read["threads"] = identity["threads"]
    return read | {
        "model": models.weights_identity(identity),
        "device": identity["device"],
        "requested": wanted.width,
        "matched": {"run": matched.run, "keep_sha256": matched.keep_sha256},
        "seed": wanted.seed,
        "calibration": text.describe(),
        "settings": settings,
    }


def results(
    model: nn.Module, wanted: Selection, found: Matched, text: calibration.Text
) -> dict[str, Any]:
    """The results of its record: those of a pruning that removes nothing, and the noise."""
    keep, shape = kept_neurons.all_neurons(model), glu.describe(model)
    return {
        "run": wanted.key,
        "criterion": NOISE,
        "seed": found.seed,
        "requested": {
            "pruning_ratio": wanted.pruning_ratio,
            "expansion_ratio": wanted.expansion_ratio,
        },
        **shape,
        "intermediate_size_dense": shape["intermediate_size"],
        "pruning_ratio": 0.0,
        "parameters_dense": shape["parameters"],
        "parameter_reduction": 0.0,
        "keep_sha256": kept_neurons.keep_sha256(keep),
        "ties_at_cut": [0] * len(keep),
        "noise": found.results() | {"calibration": text.describe()},
    }
