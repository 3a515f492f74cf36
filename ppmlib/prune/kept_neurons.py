"""The kept neurons of a run: chosen from scores, written, read back and checked."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ppmlib.model import glu, models
from ppmlib.prune import scored, scoring, selection
from ppmlib.record import records
from ppmlib.study_file.selection import Selection

KEEP_TENSOR = "keep"


@dataclass(frozen=True)
class Kept:
    """The neurons of one run: `keep` (num_layers, k) int64, and the run's name."""

    keep: Tensor
    run: str

    @property
    def k(self) -> int:
        """Neurons kept in each layer."""
        return self.keep.shape[1]

    @cached_property
    def keep_sha256(self) -> str:
        """Hash of the kept indices."""
        return keep_sha256(self.keep)


def choose_neurons(
    model: nn.Module, wanted: Selection, *, model_scores: Tensor | None = None
) -> Kept:
    """Score a model and choose the neurons of one run; nothing is changed.

    The dense run keeps all neurons, without a look at the scores.

    Args:
        model_scores: (num_layers, I) scores of this criterion and seed, if they are at hand.
    Raises:
        ValueError: as `Selection.keep_count` and `scoring.score_model`.
    """
    k = wanted.keep_count(glu.intermediate_size(model), glu.hidden_size(model))
    if wanted.is_dense:
        return Kept(all_neurons(model), wanted.key)
    if model_scores is None:
        model_scores = scoring.score_model(model, wanted.criterion, wanted.seed)
    return Kept(selection.select_layers(model_scores, k), wanted.key)


def all_neurons(model: nn.Module) -> Tensor:
    """The kept indices of a model that keeps everything: (num_layers, intermediate_size)."""
    return torch.arange(glu.intermediate_size(model)).expand(len(glu.glu_mlps(model)), -1)


def pruning_inputs(identity: dict[str, Any], wanted: Selection) -> dict[str, Any]:
    """What decides which neurons stay: the inputs of a run's pruning record.

    The dense run depends on no criterion and is never rounded.
    """
    inputs = {"model": models.weights_identity(identity), "requested": wanted.width}
    if wanted.is_dense:
        return inputs
    return inputs | {
        "criterion": wanted.name,
        "criterion_sha256": scored.custom_sha256(wanted.criterion),
        "keep_multiple_of": wanted.keep_multiple_of,
    }


def keep_path(root: Path, run: str) -> Path:
    """Where a run's kept indices lie: `<root>/records/<run>/keep.safetensors`."""
    return Path(root) / "records" / run / "keep.safetensors"


def read_neurons(root: Path, run: str) -> tuple[dict[str, Any], Kept]:
    """A run's verified pruning record and the neurons it keeps.

    Raises:
        records.RecordError: if it is missing or damaged, or the indices are not the record's.
    """
    record = records.read(root, f"{run}/2_pruning")
    neurons = Kept(read_keep(keep_path(root, run)), run)
    if neurons.keep_sha256 != record["results"]["keep_sha256"]:
        raise records.RecordError(f"{keep_path(root, run)}: not the kept indices of its record")
    return record, neurons


def find_neurons(root: Path, loaded, wanted: Selection, *, record_dir: str) -> Kept:
    """The neurons of a run: from its pruning record, or in a bare run computed when there is none.

    The dense run needs no record.

    Args:
        root, record_dir: as `records.open_folder`.
        loaded: what `models.load` gave, not yet sliced.
    Raises:
        records.RecordError: in a study, when the record is missing, damaged, or of another model,
            criterion or width; the message says which.
    """
    path = records.record_path(root, f"{wanted.key}/2_pruning")
    if wanted.is_dense or (not record_dir and not path.exists()):
        return choose_neurons(loaded.model, wanted)
    record, neurons = read_neurons(root, wanted.key)
    expected = pruning_inputs(loaded.identity, wanted)
    differing = [name for name in expected if record["inputs"].get(name) != expected[name]]
    if differing and not record_dir:
        return choose_neurons(loaded.model, wanted)
    if differing:
        raise records.RecordError(f"{path}: made with another {', '.join(differing)}; prune again")
    return neurons


def keep_sha256(keep: Tensor) -> str:
    """SHA-256 of the kept indices: their shape and their values as little-endian int32."""
    return scored.hash_values("keep", keep.to("cpu", torch.int32).numpy().astype("<i4"))


def write_keep(path: Path, keep: Tensor) -> Path:
    """Write the kept indices atomically as safetensors (tensor `keep`, int32, (L, k))."""
    return scored.write_tensors(path, {KEEP_TENSOR: keep.to("cpu", torch.int32)})


def read_keep(path: Path) -> Tensor:
    """Read kept indices that `write_keep` wrote: (L, k) int64."""
    from safetensors.torch import load_file

    return load_file(path)[KEEP_TENSOR].long()
