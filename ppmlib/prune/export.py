"""Write a pruned model as an ordinary checkpoint that plain transformers loads, with a model card.

The weights go from file to file, so a model of any size takes the same memory. The folder appears
under its name only when it is complete.
"""

import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ppmlib.model import checkpoint, glu
from ppmlib.model.models import Loaded, load, weights_identity
from ppmlib.prune import kept_neurons, slicing, streaming
from ppmlib.record import evaluation_records, records
from ppmlib.study_file.selection import SETTINGS, Selection

CARD = "README.md"
CARD_TEMPLATE = Path(__file__).with_name("model_card.md.j2")


def export(
    loaded: Loaded,
    keep: Tensor,
    folder: Path,
    wanted: Selection,
    *,
    study: Mapping[str, Sequence[Mapping[str, Any]]] | None = None,
) -> Path:
    """Slice a model and write it as a checkpoint; returns the folder.

    Writes the weights (sharded as they were), config.json (with the new intermediate_size), the
    tokenizer, the generation config and a model card.

    Args:
        loaded: from `models.load`, not yet sliced; its model is sliced in place. The weights are
            read from its folder: a model on the device `meta`, without any, will do.
        keep: (num_layers, k) kept indices.
        folder: must not exist, or be empty.
        wanted: the selection that `keep` was made from, for the card.
        study: rows of the evaluation records, `{"dense": [...], "pruned": [...]}`.
    Raises:
        FileExistsError: if the folder holds something.
        ValueError: if `keep` does not fit the model, the model has no folder (random weights), or
            the study's rows do not fit together.
    """
    if loaded.folder is None:
        raise ValueError(f"{loaded.identity['id']}: random weights are not exported")
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FileExistsError(f"{folder} holds something already; name a new folder")
    dense = glu.describe(loaded.model)
    slicing.slice_mlps(loaded.model, keep)
    card = model_card(loaded, keep, wanted, dense=dense, study=study)

    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    try:
        dtype = getattr(torch, loaded.identity["dtype"])
        streaming.copy_weights(loaded.folder, temporary, keep, dtype)
        loaded.model.config.save_pretrained(temporary)
        loaded.model.generation_config.save_pretrained(temporary)
        for file in checkpoint.tokenizer_files(loaded.folder):
            copy = temporary / file.relative_to(loaded.folder)
            copy.parent.mkdir(exist_ok=True)
            shutil.copyfile(file, copy)
        (temporary / CARD).write_text(card, encoding="utf-8")
        _usual_modes(temporary)
        os.replace(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder


def export_run(root: Path, run: str, settings: Mapping[str, Any], folder: Path) -> Path:
    """Export one run of a study, with its scores where dense and pruned are evaluated.

    Args:
        root: the study's folder; a model folder in `settings` is relative to it.
        settings: the parameters of the run's pruning notebook.
    Raises:
        records.RecordError: if the run is not pruned yet, its record is damaged, or the model's
            weights are no longer those that were pruned.
        ModelError, FileExistsError, ValueError: as `models.load` and `export`.
    """
    record, kept = kept_neurons.read_neurons(root, run)
    model = settings["model"]
    if model.startswith("."):
        model = str(Path(root) / model)
    loaded = load(model, revision=settings["revision"], dtype=settings["dtype"], device="meta")
    if weights_identity(loaded.identity) != record["inputs"]["model"]:
        raise records.RecordError(f"{run}: the model is no longer the one that was pruned")
    dense, pruned = (
        evaluation_records.read_one(root, name) for name in (evaluation_records.DENSE, run)
    )
    study = None
    if dense and pruned:
        study = {"dense": dense["results"]["rows"], "pruned": pruned["results"]["rows"]}
    wanted = Selection(**{name: settings[name] for name in SETTINGS})
    return export(loaded, kept.keep, folder, wanted, study=study)


def _usual_modes(folder: Path) -> None:
    # Temporary folders and safetensors files are private to their owner.
    umask = os.umask(0)
    os.umask(umask)
    for path in (folder, *folder.rglob("*")):
        path.chmod((0o777 if path.is_dir() else 0o666) & ~umask)


def model_card(
    loaded: Loaded,
    keep: Tensor,
    wanted: Selection,
    *,
    dense: Mapping[str, Any],
    study: Mapping[str, Sequence[Mapping[str, Any]]] | None = None,
) -> str:
    """The README.md of an exported model.

    Args:
        loaded: its model is sliced already.
        dense: `glu.describe` of the model before.
        study: rows of two evaluation records, for a table of headline scores.
    """
    import jinja2

    template = jinja2.Template(
        CARD_TEMPLATE.read_text(encoding="utf-8"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    kind = "expansion_ratio" if wanted.pruning_ratio is None else "pruning_ratio"
    return template.render(
        identity=loaded.identity,
        wanted=wanted,
        requested=f"{kind.replace('_', ' ')} {getattr(wanted, kind):g}",
        dense=dense,
        pruned=glu.describe(loaded.model),
        keep_sha256=kept_neurons.keep_sha256(keep),
        scores=None if study is None else _paired_headlines(study),
        with_error=_with_error,
    )


def _paired_headlines(study: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[tuple]:
    def headlines(rows):
        chosen = (row for row in rows if row["headline"] and row["source"] == "model")
        return {(row["task"], row["metric"], row["filter"]): row for row in chosen}

    dense, pruned = headlines(study["dense"]), headlines(study["pruned"])
    pairs = [(dense[key], row) for key, row in pruned.items()]
    for before, after in pairs:
        if before["n"] != after["n"]:
            raise ValueError(f"{after['task']}: {before['n']} documents dense, {after['n']} pruned")
    return pairs


def _with_error(row: Mapping[str, Any]) -> str:
    if row["stderr"] is None:
        return f"{row['value']:.4f} (no standard error)"
    return f"{row['value']:.4f} ± {row['stderr']:.4f}"
