"""The scores of a study in its record."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ppmlib.model import models
from ppmlib.prune.scoring import score_model
from ppmlib.record import code_files, records
from ppmlib.study_file.selection import selection_slug

SCORES_FILE = "records/scores.safetensors"


def read_scores(root: Path, loaded, *, record_dir: str, criterion: str, seed: int = 0) -> Tensor:
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


def write_scores(path: Path, scored: dict[str, Tensor]) -> Path:
    """Write scores atomically as safetensors: one float32 (L, I) tensor per selection name."""
    return write_tensors(path, {name: scored[name].float() for name in sorted(scored)})


def write_tensors(path: Path, tensors: dict[str, Tensor]) -> Path:
    """Write tensors atomically as safetensors; returns the path."""
    from safetensors.torch import save

    with records.atomic(path) as temporary:
        temporary.write_bytes(save({name: each.contiguous() for name, each in tensors.items()}))
    return path


def scores_sha256(values: Tensor) -> str:
    """SHA-256 of scores: their shape and their values as little-endian float32."""
    return hash_values("scores", values.to("cpu", torch.float32).numpy().astype("<f4"))


def hash_values(name: str, values: np.ndarray) -> str:
    """SHA-256 of a name, the shape and the bytes of an array."""
    shape = "x".join(map(str, values.shape))
    return hashlib.sha256(f"{name} {shape}\n".encode() + values.tobytes()).hexdigest()


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


def custom_sha256(criterion: str) -> str | None:
    """Hash of a custom criterion's file and what it imports; None for the built-in criteria."""
    if ".py:" not in criterion:
        return None
    return code_files.sha256(Path(criterion.rpartition(":")[0]).expanduser())
