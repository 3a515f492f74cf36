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
from ppmlib.study_file.selection import selection_slug

CARD = "README.md"
COMPUTED_BY = "ppmlib"


def export(
    loaded: Loaded,
    keep: Tensor,
    folder: Path,
    *,
    criterion: str,
    seed: int = 0,
    pruning_ratio: float | None = None,
    expansion_ratio: float | None = None,
    study: Mapping[str, Sequence[Mapping[str, Any]]] | None = None,
) -> Path:
    """Slice a model and write it as a checkpoint.

    Writes the weights (sharded as they were), config.json (with the new intermediate_size), the
    tokenizer, the generation config and a model card.

    Args:
        loaded: from `models.load`, not yet sliced; its model is sliced in place. The weights are
            read from its folder: a model on the device `meta`, without any, will do.
        keep: (num_layers, k) kept indices.
        folder: must not exist, or be empty.
        criterion, seed, pruning_ratio, expansion_ratio: what was asked for, for the card.
        study: rows of the evaluation records, `{"dense": [...], "pruned": [...]}`.
    Returns:
        the folder.
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
    card = {
        "criterion": selection_slug(criterion, seed),
        "requested": _requested(pruning_ratio, expansion_ratio),
        "width_dense": glu.intermediate_size(loaded.model),
        "parameters_dense": glu.parameter_count(loaded.model),
    }
    slicing.slice_mlps(loaded.model, keep)
    text = model_card(loaded, keep, study=study, **card)

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
        (temporary / CARD).write_text(text, encoding="utf-8")
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
    dense, pruned = (evaluation_records.one(root, name) for name in (evaluation_records.DENSE, run))
    study = None
    if dense and pruned:
        study = {"dense": dense["results"]["rows"], "pruned": pruned["results"]["rows"]}
    request = ("criterion", "seed", "pruning_ratio", "expansion_ratio")
    wanted = {name: settings[name] for name in request}
    return export(loaded, kept.keep, folder, **wanted, study=study)


def _usual_modes(folder: Path) -> None:
    # Temporary folders and safetensors files are private to their owner.
    umask = os.umask(0)
    os.umask(umask)
    for path in (folder, *folder.rglob("*")):
        path.chmod((0o777 if path.is_dir() else 0o666) & ~umask)


def _requested(pruning_ratio: float | None, expansion_ratio: float | None) -> str:
    if pruning_ratio is None:
        return f"expansion ratio {expansion_ratio:g}"
    return f"pruning ratio {pruning_ratio:g}"


def model_card(
    loaded: Loaded,
    keep: Tensor,
    *,
    criterion: str,
    requested: str,
    width_dense: int,
    parameters_dense: int,
    study: Mapping[str, Sequence[Mapping[str, Any]]] | None = None,
) -> str:
    """The README.md of an exported model; `loaded.model` is sliced already.

    With the rows of two evaluation records as `study`, a table of headline scores, dense beside
    pruned, each with its standard error and number of documents.
    """
    identity = loaded.identity
    width, parameters = glu.intermediate_size(loaded.model), glu.parameter_count(loaded.model)
    revision = identity["revision"]
    lines = ["---", "library_name: transformers"]
    if revision is not None:
        lines += [f"base_model: {identity['id']}", f"base_model_revision: {revision}"]
    lines += ["tags:", "- pruned", "- width-pruning", f"- {COMPUTED_BY}", "---", ""]
    lines += [f"# {identity['id']} with {width} of {width_dense} GLU neurons per layer", ""]
    if identity["synthetic"]:
        lines += ["**SYNTHETIC**: a bench model trained on an invented world.", ""]
    lines += [
        "Width-pruned without any further training. In every layer the neurons of lowest score "
        "were removed: rows of `gate_proj` and `up_proj`, columns of `down_proj`.",
        "",
        "| | |",
        "|---|---|",
    ]
    facts = {
        "base model": identity["id"],
        "revision": revision or "none (not from the hub)",
        "base weights (sha256)": f"`{identity['weights_sha256']}`",
        "dtype": identity["dtype"],
        "criterion": criterion,
        "requested": requested,
        "pruning ratio, achieved": f"{1 - width / width_dense:.4f}",
        "intermediate size": f"{width} (dense {width_dense})",
        "expansion ratio": f"{glu.expansion_ratio(loaded.model):.4f}",
        "parameters": f"{parameters:,} (dense {parameters_dense:,}, "
        f"-{1 - parameters / parameters_dense:.1%})",
        "kept neurons (sha256)": f"`{kept_neurons.keep_sha256(keep)}`",
    }
    lines += [f"| {name} | {value} |" for name, value in facts.items()]
    if study is not None:
        lines += ["", "## Scores in the study", "", *_score_table(study)]
    return "\n".join([*lines, ""])


def _score_table(study: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[str]:
    def headlines(rows):
        chosen = (row for row in rows if row["headline"] and row["source"] == "model")
        return {(row["task"], row["metric"], row["filter"]): row for row in chosen}

    dense, pruned = headlines(study["dense"]), headlines(study["pruned"])
    lines = [
        "| task | metric | shots | n | dense | this model |",
        "|---|---|---|---|---|---|",
    ]
    for key, row in pruned.items():
        base = dense[key]
        if base["n"] != row["n"]:
            raise ValueError(f"{row['task']}: {base['n']} documents dense, {row['n']} pruned")
        lines.append(
            f"| {row['task']} | {row['metric']} ({row['filter']}) | {row['num_fewshot']} "
            f"| {row['n']} | {_with_error(base)} | {_with_error(row)} |"
        )
    return [*lines, "", "Value and standard error over the documents."]


def _with_error(row: Mapping[str, Any]) -> str:
    if row["stderr"] is None:
        return f"{row['value']:.4f} (no standard error)"
    return f"{row['value']:.4f} ± {row['stderr']:.4f}"
