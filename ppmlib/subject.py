"""What one evaluation is of: a model sliced to its width, or a trivial responder.

Everything an evaluation notebook needs to know of it, whichever it is.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ppmlib import glu, models, pruning
from ppmlib.params import responder_kind, run_key, selection_slug


@dataclass(frozen=True)
class Subject:
    """A run's model in memory, ready to be evaluated.

    `kept_inputs` identify in a fingerprint what was done to the dense weights; `results` describe
    the run in its record; `sentence` says in Markdown what it is.
    """

    loaded: models.Loaded
    run: str
    kept_inputs: dict[str, Any]
    results: dict[str, Any]
    sentence: str

    @property
    def is_model(self) -> bool:
        """Whether it is a model, whose level is worth judging, and not a trivial responder."""
        return "responder" not in self.results


def prepare(
    root: Path,
    model: str,
    *,
    revision: str | None = None,
    dtype: str = "float32",
    record_dir: str = "",
    criterion: str = "ppm",
    seed: int = 0,
    pruning_ratio: float | None = None,
    expansion_ratio: float | None = None,
    keep_multiple_of: int = 1,
) -> Subject:
    """Load the dense weights and slice them as the run's pruning record says, its hash checked.

    `floor-constant` and the like need no weights, only the tokenizer.

    Args:
        root, record_dir: as `records.open_folder` and `records.upstream`.
        criterion: as in a study, or a trivial responder's `floor-<kind>`.
    Raises:
        ModelError, RecordError: as `models.load` and `pruning.kept`.
        ValueError: if slicing did not give the recorded width.
    """
    if kind := responder_kind(criterion):
        return _responder(kind, criterion, model, revision)
    loaded = models.load(model, revision=revision, dtype=dtype)
    dense_width = glu.intermediate_size(loaded.model)
    request = {
        "criterion": criterion,
        "seed": seed,
        "pruning_ratio": pruning_ratio,
        "expansion_ratio": expansion_ratio,
        "keep_multiple_of": keep_multiple_of,
    }
    kept = pruning.kept(root, loaded, record_dir=record_dir, **request)
    pruning.slice_mlps(loaded.model, kept.keep)
    shape = glu.describe(loaded.model)
    if shape["intermediate_size"] != kept.k:
        raise ValueError(f"{kept.run}: {shape['intermediate_size']} neurons left, not {kept.k}")
    results = {
        "run": kept.run,
        "criterion": selection_slug(criterion, seed),
        "seed": seed,
        "pruning_ratio": 1 - kept.k / dense_width,
        "expansion_ratio": shape["expansion_ratio"],
        "intermediate_size": kept.k,
        "parameters": shape["parameters"],
    }
    sentence = (
        f"**{kept.run}** of `{loaded.identity['id']}`: {kept.k} of {dense_width} neurons per "
        f"layer, expansion ratio {shape['expansion_ratio']:.2f}, {shape['parameters']:,} "
        f"parameters, {dtype} on {loaded.identity['device']}."
    )
    return Subject(loaded, kept.run, {"keep_sha256": kept.keep_sha256}, results, sentence)


def _responder(kind: str, criterion: str, model: str, revision: str | None) -> Subject:
    from ppmlib.lmeval import responders

    loaded = responders.load(kind, model=model, revision=revision)
    run = run_key(criterion)
    results = {
        "run": run,
        "criterion": criterion,
        "seed": 0 if loaded.identity["seed"] is None else loaded.identity["seed"],
        "responder": kind,
        "pruning_ratio": None,
        "expansion_ratio": None,
        "intermediate_size": None,
        "parameters": 0,
    }
    sentence = (
        f"**{run}**: a trivial responder, no model. It {responders.WHAT[kind]}. What it scores "
        "needs no ability. Of the study's tasks it gets those it can answer; the study's "
        "tokenizer only counts its tokens."
    )
    return Subject(loaded, run, {}, results, sentence)
