"""Importance scores of GLU neurons: one value per neuron, higher = keep.

Pure functions of the gate and up projection weights, (intermediate_size, hidden_size) each. They
compute in float32 whatever the weights' dtype, as the published code does, but never hold a
float32 copy of a whole matrix. A model is read once for all criteria (see `weight_rows`).
"""

import hashlib
import importlib.util
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

from ppmlib.model import models
from ppmlib.model.glu import glu_mlps
from ppmlib.prune import weight_rows
from ppmlib.record import code_files, records
from ppmlib.study_file.params import refuse_alike, selection_slug

SCORES_FILE = "records/scores.safetensors"


def ppm(gate: Tensor, up: Tensor) -> Tensor:
    """Peak-to-peak magnitude of each GLU neuron.

    score[i] = (max(gate[i]) + |min(gate[i])|) + (max(up[i]) + |min(up[i])|)
    Equals the sum of (max - min) unless a row has one sign; we follow the published code.

    Args:
        gate, up: projection weights, (intermediate_size, hidden_size), any float dtype.
    Returns:
        (intermediate_size,) float32 on the input's device.
    Raises:
        ValueError: if the shapes differ or a weight is not finite.
    Source: Martra 2025, arXiv:2512.22671; named MAW in its first version.
    """
    return _score("ppm", gate, up)


def l2(gate: Tensor, up: Tensor) -> Tensor:
    """Sum of the L2 norms of a neuron's gate and up weights; arguments and errors as `ppm`."""
    return _score("l2", gate, up)


def vow(gate: Tensor, up: Tensor) -> Tensor:
    """Variance of weights: unbiased var(gate[i]) + var(up[i]); arguments and errors as `ppm`."""
    return _score("vow", gate, up)


def pon(gate: Tensor, up: Tensor) -> Tensor:
    """Product of norms: ||gate[i]||_1 * ||up[i]||_1; arguments and errors as `ppm`."""
    return _score("pon", gate, up)


def inverse(gate: Tensor, up: Tensor) -> Tensor:
    """The negative of `ppm`: removes first what PPM calls most important (a control)."""
    return -ppm(gate, up)


CRITERIA: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "ppm": ppm,
    "l2": l2,
    "vow": vow,
    "pon": pon,
    "inverse": inverse,
}
RANDOM = "random"


def random_scores(intermediate_size: int, seed: int, layer: int) -> Tensor:
    """A random order of a layer's neurons: (intermediate_size,) float32, no two alike.

    One vector per seed and layer, whatever the width, so that the kept sets of wider models
    contain those of narrower ones. The global random state is neither used nor changed.
    """
    digest = hashlib.sha256(f"random {seed} layer {layer}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:4], "little"))
    return torch.randperm(intermediate_size, generator=generator).float()


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


def custom_sha256(criterion: str) -> str | None:
    """Hash of a custom criterion's file and what it imports; None for the built-in criteria."""
    if ".py:" not in criterion:
        return None
    return code_files.sha256(Path(criterion.rpartition(":")[0]).expanduser())


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
    return _read_once(mlps, [criterion])[criterion]


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
    together = [criterion for criterion in criteria if criterion in CRITERIA]
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


def write_scores(path: Path, scored: dict[str, Tensor]) -> Path:
    """Write scores atomically as safetensors: one float32 (L, I) tensor per selection name."""
    from safetensors.torch import save

    tensors = {name: scored[name].float().contiguous() for name in sorted(scored)}
    with records.atomic(path) as temporary:
        temporary.write_bytes(save(tensors))
    return path


def scores_sha256(values: Tensor) -> str:
    """SHA-256 of scores: their shape and their values as little-endian float32."""
    shape = "x".join(map(str, values.shape))
    data = values.to("cpu", torch.float32).contiguous().numpy().astype("<f4").tobytes()
    return hashlib.sha256(f"scores {shape}\n".encode() + data).hexdigest()


def scoring_inputs(
    identity: dict, *, criteria: Iterable[str], seeds: Iterable[int], counts: dict[str, int]
) -> dict:
    """What decides the numbers of the scoring record: weights, criteria, seeds and widths."""
    return {
        "model": models.weights_identity(identity),
        "criteria": {selection_slug(criterion): custom_sha256(criterion) for criterion in criteria},
        "random_seeds": list(seeds),
        "widths": dict(counts),
    }


def of_study(root: Path, loaded, *, record_dir: str, criterion: str, seed: int = 0) -> Tensor:
    """The scores of a selection from the study's scoring record; computed in a bare run.

    Args:
        root, record_dir: as `records.open_folder`.
        loaded: what `models.load` gave.
    Returns:
        (num_layers, I) float32.
    Raises:
        records.RecordError: in a study, if the record is missing, damaged, of other weights, or
            without this selection.
    """
    if not record_dir:
        return score_model(loaded.model, criterion, seed)
    from safetensors.torch import load_file

    record = records.read(root, "1_scoring")
    path = records.record_path(root, "1_scoring")
    if record["inputs"]["model"] != models.weights_identity(loaded.identity):
        raise records.RecordError(f"{path}: scores of another model; score this one first")
    name = selection_slug(criterion, seed)
    if name not in record["results"]["selections"]:
        raise records.RecordError(f"{path}: no scores of {name}; score with it first")
    return load_file(Path(root) / SCORES_FILE)[name]


def _score(criterion: str, gate: Tensor, up: Tensor) -> Tensor:
    _check_shapes(gate, up)
    reading, join = RAW[criterion]
    scores = join(*weight_rows.read([gate, up], [reading])[reading])
    _check_finite(scores)
    return scores


def _read_once(mlps: Sequence, criteria: Sequence[str]) -> dict[str, Tensor]:
    """(L, I) float32 scores of each built-in criterion, on the CPU.

    No value is looked at before the last layer is read: a GPU would have to be waited for, and
    reads a layer in less time than it takes to ask for a few small sums.
    """
    for mlp in mlps:
        with _naming(mlp.layer):
            _check_shapes(mlp.gate.weight, mlp.up.weight)
    weights = [weight for mlp in mlps for weight in (mlp.gate.weight, mlp.up.weight)]
    read = weight_rows.read(weights, [RAW[criterion][0] for criterion in criteria])
    scored = {}
    # A few thousand sums need no second thread, which would then wait for more work, at full speed.
    with weight_rows.one_torch_thread():
        for criterion in criteria:
            reading, join = RAW[criterion]
            gates, ups = (_stacked(read[reading][first::2]) for first in (0, 1))
            scored[criterion] = join(gates, ups).cpu()
            finite = scored[criterion].isfinite().all(dim=1)
            if not finite.all():
                layer = int((~finite).nonzero()[0])
                with _naming(mlps[layer].layer):
                    _check_finite(scored[criterion][layer])
    return scored


@contextmanager
def _naming(layer: int) -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise ValueError(f"layer {layer}: {error}") from None


def _stacked(of_layers: Sequence[tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
    # Layers of a model that is spread over devices meet on the first one's.
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


# What is read off the rows of one matrix, and how a neuron's two rows make its score.
RAW = {
    "ppm": (weight_rows.EXTREMES, _peak_to_peak),
    "l2": (weight_rows.NORM2, _sum),
    "vow": (weight_rows.VARIANCE, _sum),
    "pon": (weight_rows.NORM1, _product),
    "inverse": (weight_rows.EXTREMES, _negative_peak_to_peak),
}


def _check_shapes(gate: Tensor, up: Tensor) -> None:
    if gate.shape != up.shape:
        shapes = f"{tuple(gate.shape)} and {tuple(up.shape)}"
        raise ValueError(f"gate and up weights have different shapes: {shapes}")


def _check_finite(scores: Tensor) -> None:
    finite = scores.isfinite()
    if not finite.all():
        neuron = int((~finite).nonzero()[0])
        raise ValueError(f"the score of neuron {neuron} is not finite: NaN or infinity in weights")


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
