"""How many neurons stay, which ones, and slicing a model in memory.

Only `slice_mlps` and `zero_neurons` change a model, in place; everything else is pure. A pruned
model is the dense revision plus the kept indices, (num_layers, k), the same k in every layer.
"""

import copy
import hashlib
import math
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ppmlib.model import glu, models
from ppmlib.prune import compaction, scores
from ppmlib.record import records
from ppmlib.study_file.params import run_key, selection_slug, width_slug

KEEP_TENSOR = "keep"


def keep_count(
    intermediate_size: int,
    *,
    hidden_size: int,
    pruning_ratio: float | None = None,
    expansion_ratio: float | None = None,
    keep_multiple_of: int = 1,
) -> int:
    """How many neurons of a layer stay, in exact decimal arithmetic.

    I - floor(pruning_ratio * I), or ceil(expansion_ratio * hidden_size); then down to a multiple
    of `keep_multiple_of`, at least one multiple. The dense model is never rounded.

    Raises:
        ValueError: unless exactly one ratio is given; for a pruning ratio outside [0, 1), an
            expansion ratio that is not positive or above the model's own, or a multiple that does
            not fit into the model.
    Source: the paper's rule, which all 15 published pruned widths follow.
    """
    if (pruning_ratio is None) == (expansion_ratio is None):
        raise ValueError("give either pruning_ratio or expansion_ratio (set the other to None)")
    if keep_multiple_of < 1:
        raise ValueError(f"keep_multiple_of {keep_multiple_of} is not a positive whole number")
    if pruning_ratio is not None:
        if not 0 <= pruning_ratio < 1:
            raise ValueError(f"pruning_ratio {pruning_ratio} is not in [0, 1)")
        k = intermediate_size - math.floor(_times(pruning_ratio, intermediate_size))
        dense = pruning_ratio == 0
    else:
        if not 0 < expansion_ratio < math.inf:
            raise ValueError(f"expansion_ratio {expansion_ratio} is not a positive number")
        target = _times(expansion_ratio, hidden_size)
        if target > intermediate_size:
            own = intermediate_size / hidden_size
            raise ValueError(f"expansion_ratio {expansion_ratio} is above the model's own {own:g}")
        k = math.ceil(target)
        dense = target == intermediate_size
    if dense:
        return intermediate_size
    if keep_multiple_of > intermediate_size:
        raise ValueError(
            f"nothing would be left: keep_multiple_of {keep_multiple_of} is more than the "
            f"{intermediate_size} neurons of a layer"
        )
    return max(k // keep_multiple_of, 1) * keep_multiple_of


def _times(ratio: float, size: int) -> Decimal:
    # 77 / 48 as a float is a little more than 77 / 48: who writes it means 77 of 48.
    whole = round(ratio * size)
    return Decimal(whole) if whole / size == ratio else Decimal(repr(float(ratio))) * size


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


def ties_at_cut(layer_scores: Tensor, k: int) -> int:
    """How many neurons share the score at the cut when some of them stay and some go, else 0."""
    if k == len(layer_scores):
        return 0
    ordered = layer_scores.sort(descending=True).values
    if ordered[k - 1] != ordered[k]:
        return 0
    return int((layer_scores == ordered[k]).sum())


def keep_sha256(keep: Tensor) -> str:
    """SHA-256 of the kept indices: their shape and their values as little-endian int32."""
    values = keep.to("cpu", torch.int32).contiguous().numpy().astype("<i4")
    shape = "x".join(map(str, keep.shape))
    return hashlib.sha256(f"keep {shape}\n".encode() + values.tobytes()).hexdigest()


def write_keep(path: Path, keep: Tensor) -> Path:
    """Write the kept indices atomically as safetensors (tensor `keep`, int32, (L, k))."""
    from safetensors.torch import save

    with records.atomic(path) as temporary:
        temporary.write_bytes(save({KEEP_TENSOR: keep.to("cpu", torch.int32).contiguous()}))
    return path


def read_keep(path: Path) -> Tensor:
    """Read kept indices that `write_keep` wrote: (L, k) int64."""
    from safetensors.torch import load_file

    return load_file(path)[KEEP_TENSOR].long()


@torch.no_grad()
def slice_mlps(model: nn.Module, keep: Tensor, *, reuse_memory: bool = False) -> None:
    """Remove all neurons but the kept ones, in place; the model's config follows.

    Rows of gate_proj and up_proj, columns of down_proj and biases are cut; modules, hooks and the
    global random state stay as they are. Everything is checked before the first layer is touched.

    Args:
        keep: (num_layers, k) indices, strictly ascending in each layer.
        reuse_memory: the kept neurons are moved to the front of the dense weights' own memory
            where that can be: faster, without a second copy, but a dense weight that the caller
            still holds is overwritten. By default such tensors keep their values.
    Raises:
        ValueError: if the model or `keep` does not fit; the model is then unchanged.
    """
    mlps = glu.glu_mlps(model)
    _check_keep(keep, len(mlps), mlps[0].gate.out_features)
    width = keep.shape[1]
    if width == mlps[0].gate.out_features:
        return
    for mlp, kept_rows in zip(mlps, keep, strict=True):
        kept_rows = kept_rows.to(mlp.gate.weight.device)
        for linear in (mlp.gate, mlp.up):
            _cut(linear, "weight", kept_rows, 0, reuse_memory)
            _cut(linear, "bias", kept_rows, 0, reuse_memory)
            linear.out_features = width
        _cut(mlp.down, "weight", kept_rows, 1, reuse_memory)
        mlp.down.in_features = width
        if hasattr(mlp.module, "intermediate_size"):
            mlp.module.intermediate_size = width
    model.config.get_text_config().intermediate_size = width


@torch.no_grad()
def zero_neurons(model: nn.Module, keep: Tensor) -> None:
    """Silence all neurons but the kept ones, in place, at full width: the oracle of slicing.

    Sets the columns of down_proj to zero, so that a neuron's value no longer reaches the output.
    Arguments and errors as `slice_mlps`.
    """
    mlps = glu.glu_mlps(model)
    _check_keep(keep, len(mlps), mlps[0].gate.out_features)
    for mlp, kept_rows in zip(mlps, keep, strict=True):
        gone = torch.ones(mlp.down.in_features, dtype=torch.bool)
        gone[kept_rows.cpu()] = False
        mlp.down.weight[:, gone.to(mlp.down.weight.device)] = 0


@torch.no_grad()
def mlp_outputs(model: nn.Module, keep: Tensor | None = None, *, rows: int = 4) -> Tensor:
    """What every MLP answers to one random batch, in float64 on the CPU, layer by layer.

    With `keep`, all other neurons are silenced first; the model itself is not changed. Equal
    outputs before and after slicing show that slicing removed what those neurons said, no more.

    Returns:
        (num_layers, rows, hidden_size) float64; the batch is the same for every model of a width.
    """
    generator = torch.Generator().manual_seed(0)
    batch = torch.randn(rows, glu.hidden_size(model), generator=generator, dtype=torch.float64)
    outputs = []
    for mlp in glu.glu_mlps(model):
        copied = copy.deepcopy(mlp.module).to("cpu", torch.float64)
        if keep is not None:
            gone = torch.ones(copied.down_proj.in_features, dtype=torch.bool)
            gone[keep[mlp.layer]] = False
            copied.down_proj.weight[:, gone] = 0
        outputs.append(copied(batch))
    return torch.stack(outputs)


def _cut(linear: nn.Linear, name: str, kept_rows: Tensor, dim: int, reuse_memory: bool) -> None:
    whole = getattr(linear, name)
    if whole is None:
        return
    if reuse_memory and compaction.possible(whole):
        part = compaction.take(whole, kept_rows, dim)
    else:
        part = compaction.copied(whole, kept_rows, dim)
    setattr(linear, name, nn.Parameter(part, requires_grad=whole.requires_grad))


def _check_keep(keep: Tensor, num_layers: int, width: int) -> None:
    if keep.is_floating_point() or keep.dtype == torch.bool:
        raise ValueError(f"keep holds {keep.dtype}, not indices")
    if keep.dim() != 2 or keep.shape[0] != num_layers or not 1 <= keep.shape[1] <= width:
        raise ValueError(
            f"keep has shape {tuple(keep.shape)}; the model has {num_layers} layers of {width}"
        )
    if (keep[:, 1:] <= keep[:, :-1]).any():
        raise ValueError("kept indices must ascend strictly in each layer")
    if keep.min() < 0 or keep.max() >= width:
        raise ValueError(f"kept indices must lie in 0..{width - 1}")


@dataclass(frozen=True)
class Kept:
    """The neurons of one run: `keep` (num_layers, k) int64, its hash, k, and the run's name."""

    keep: Tensor
    keep_sha256: str
    k: int
    run: str


def plan(
    model: nn.Module,
    *,
    criterion: str,
    seed: int = 0,
    pruning_ratio: float | None = None,
    expansion_ratio: float | None = None,
    keep_multiple_of: int = 1,
    model_scores: Tensor | None = None,
) -> Kept:
    """Score a model and choose the neurons of one run; nothing is changed.

    The dense run keeps all neurons, without a look at the scores.

    Args:
        model_scores: (num_layers, I) scores of this criterion and seed, if they are at hand.
    Raises:
        ValueError: as `keep_count` and `scores.score_model`.
    """
    k = keep_count(
        glu.intermediate_size(model),
        hidden_size=glu.hidden_size(model),
        pruning_ratio=pruning_ratio,
        expansion_ratio=expansion_ratio,
        keep_multiple_of=keep_multiple_of,
    )
    run = run_key(criterion, seed, pruning_ratio, expansion_ratio)
    if pruning_ratio == 0:
        keep = torch.arange(k).expand(len(glu.glu_mlps(model)), -1)
        return Kept(keep, keep_sha256(keep), k, run)
    if model_scores is None:
        model_scores = scores.score_model(model, criterion, seed)
    keep = select_layers(model_scores, k)
    return Kept(keep, keep_sha256(keep), k, run)


def pruning_inputs(
    identity: dict[str, Any],
    *,
    criterion: str,
    seed: int = 0,
    pruning_ratio: float | None = None,
    expansion_ratio: float | None = None,
    keep_multiple_of: int = 1,
) -> dict[str, Any]:
    """What decides which neurons stay: the inputs of a run's pruning record.

    The dense run depends on no criterion and is never rounded.
    """
    inputs = {
        "model": models.weights_identity(identity),
        "requested": width_slug(pruning_ratio, expansion_ratio),
    }
    if pruning_ratio == 0:
        return inputs
    return inputs | {
        "criterion": selection_slug(criterion, seed),
        "criterion_sha256": scores.custom_sha256(criterion),
        "keep_multiple_of": keep_multiple_of,
    }


def keep_path(root: Path, run: str) -> Path:
    """Where a run's kept indices lie: `<root>/records/<run>/keep.safetensors`."""
    return Path(root) / "records" / run / "keep.safetensors"


def recorded(root: Path, run: str) -> tuple[dict[str, Any], Kept]:
    """A run's verified pruning record and the neurons it keeps.

    Raises:
        records.RecordError: if it is missing or damaged, or the indices are not the record's.
    """
    record = records.read(root, f"{run}/2_pruning")
    keep = read_keep(keep_path(root, run))
    digest = keep_sha256(keep)
    if digest != record["results"]["keep_sha256"]:
        raise records.RecordError(f"{keep_path(root, run)}: not the kept indices of its record")
    return record, Kept(keep, digest, keep.shape[1], run)


def kept(
    root: Path,
    loaded,
    *,
    record_dir: str,
    criterion: str,
    seed: int = 0,
    pruning_ratio: float | None = None,
    expansion_ratio: float | None = None,
    keep_multiple_of: int = 1,
) -> Kept:
    """The neurons of a run: from its pruning record, or in a bare run computed when there is none.

    The dense run needs no record.

    Args:
        root, record_dir: as `records.open_folder`.
        loaded: what `models.load` gave, not yet sliced.
    Raises:
        records.RecordError: in a study, when the record is missing, damaged, or of another model,
            criterion or width; the message says which.
    """
    request = {
        "criterion": criterion,
        "seed": seed,
        "pruning_ratio": pruning_ratio,
        "expansion_ratio": expansion_ratio,
        "keep_multiple_of": keep_multiple_of,
    }
    if pruning_ratio == 0:
        return plan(loaded.model, **request)
    run = run_key(criterion, seed, pruning_ratio, expansion_ratio)
    path = records.record_path(root, f"{run}/2_pruning")
    if not record_dir and not path.exists():
        return plan(loaded.model, **request)
    record, neurons = recorded(root, run)
    expected = pruning_inputs(loaded.identity, **request)
    differing = [name for name in expected if record["inputs"].get(name) != expected[name]]
    if differing and not record_dir:
        return plan(loaded.model, **request)
    if differing:
        raise records.RecordError(f"{path}: made with another {', '.join(differing)}; prune again")
    return neurons
