"""What one evaluation is of: a model sliced to its width, or a trivial baseline.

Holds what the evaluation notebook needs for either of them.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from ppmlib.model import glu, models
from ppmlib.prune import calibration, kept_neurons, noise, slicing
from ppmlib.record import records
from ppmlib.study_file.selection import NOISE, Selection, responder_kind


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
        """Whether it is a model, whose level is worth judging, and not a trivial baseline."""
        return "responder" not in self.results


def prepare(
    root: Path,
    model: str,
    wanted: Selection,
    *,
    revision: str | None = None,
    dtype: str = "float32",
    record_dir: str = "",
) -> Subject:
    """Load the dense weights and slice them as the run's pruning record says, its hash checked.

    `floor-constant` and the like need no weights, only the tokenizer.

    Args:
        root, record_dir: as `records.open_folder`.
        wanted: a selection of the study, `noise`, or a trivial baseline's `floor-<kind>`.
    Raises:
        ModelError, RecordError: as `models.load` and `kept_neurons.find_neurons`.
        ValueError: if slicing did not give the recorded width.
    """
    if kind := responder_kind(wanted.criterion):
        return _responder(kind, wanted, model, revision)
    loaded = models.load(model, revision=revision, dtype=dtype)
    if wanted.criterion == NOISE:
        return _noisy(root, loaded, wanted, record_dir)
    dense_width = glu.intermediate_size(loaded.model)
    kept = kept_neurons.find_neurons(root, loaded, wanted, record_dir=record_dir)
    slicing.slice_mlps(loaded.model, kept.keep, reuse_memory=True)
    shape = glu.describe(loaded.model)
    if shape["intermediate_size"] != kept.k:
        raise ValueError(f"{kept.run}: {shape['intermediate_size']} neurons left, not {kept.k}")
    results = _described(wanted, wanted.seed, dense_width, shape)
    sentence = f"{_shown(kept.run, loaded, dense_width, shape)}."
    return Subject(loaded, kept.run, {"keep_sha256": kept.keep_sha256}, results, sentence)


def _described(wanted: Selection, seed: int, dense_width: int, shape) -> dict[str, Any]:
    return {
        "run": wanted.key,
        "criterion": wanted.name,
        "seed": seed,
        "pruning_ratio": 1 - shape["intermediate_size"] / dense_width,
        "expansion_ratio": shape["expansion_ratio"],
        "intermediate_size": shape["intermediate_size"],
        "parameters": shape["parameters"],
    }


def _shown(run: str, loaded: models.Loaded, dense_width: int, shape) -> str:
    about = loaded.identity
    return (
        f"**{run}** of `{about['id']}`: {shape['intermediate_size']} of {dense_width} neurons per "
        f"layer, expansion ratio {shape['expansion_ratio']:.2f}, {shape['parameters']:,} "
        f"parameters, {about['dtype']} on {about['device']}"
    )


def _noisy(root: Path, loaded, wanted: Selection, record_dir: str) -> Subject:
    sigma, seed, keep_sha256 = _recorded_noise(root, loaded, wanted, record_dir)
    run = wanted.key
    noise.add_noise(loaded.model, sigma, seed)
    shape = glu.describe(loaded.model)
    width = shape["intermediate_size"]
    sentence = (
        f"{_shown(run, loaded, width, shape)}. Nothing is removed: every GLU matrix carries "
        f"Gaussian noise of {sigma:.4g} of its standard deviation (seed {seed}), which does as "
        "much damage to the perplexity of calibration text as pruning at this ratio."
    )
    disturbed = {"keep_sha256": keep_sha256, "noise": {"sigma": sigma, "seed": seed}}
    results = _described(wanted, seed, width, shape) | {"noise": disturbed["noise"]}
    return Subject(loaded, run, disturbed, results, sentence)


def _responder(kind: str, wanted: Selection, model: str, revision: str | None) -> Subject:
    from ppmlib.evaluation import trivial_baselines

    loaded = trivial_baselines.load(kind, model=model, revision=revision)
    run = wanted.key
    results = {
        "run": run,
        "criterion": wanted.criterion,
        "seed": 0 if loaded.identity["seed"] is None else loaded.identity["seed"],
        "responder": kind,
        "pruning_ratio": None,
        "expansion_ratio": None,
        "intermediate_size": None,
        "parameters": 0,
    }
    sentence = (
        f"**{run}**: a trivial baseline without a model. It {trivial_baselines.WHAT[kind]}. Its "
        "score needs no ability. It gets the tasks of the study that it can answer; the study's "
        "tokenizer only counts its tokens."
    )
    return Subject(loaded, run, {}, results, sentence)


def _recorded_noise(
    root: Path, loaded, wanted: Selection, record_dir: str
) -> tuple[float, int, str]:
    """The tuned noise of a run from its record: sigma, seed, hash of the kept neurons (all).

    A bare run without a record tunes it first, against the bench model's PPM and text.

    Raises:
        records.RecordError: in a study, if the record is missing, damaged or of other weights.
    """
    path = records.record_path(root, f"{wanted.key}/2_pruning")
    if not record_dir and not path.exists():
        found, keep = _tune_noise(loaded, wanted)
        return found.sigma, found.seed, kept_neurons.keep_sha256(keep)
    record, kept = kept_neurons.read_neurons(root, wanted.key)
    if record["inputs"]["model"] != models.weights_identity(loaded.identity):
        raise records.RecordError(f"{path}: made with another model; tune the noise again")
    tuned = record["results"]["noise"]
    return tuned["sigma"], tuned["seed"], kept.keep_sha256


def _tune_noise(loaded, wanted: Selection) -> tuple[noise.Matched, Tensor]:
    from ppmlib.evaluation import backends

    pruned = Selection("ppm", 0, wanted.pruning_ratio, wanted.expansion_ratio)
    keep = kept_neurons.choose_neurons(loaded.model, pruned).keep
    lm = backends.load(loaded.model, loaded.tokenizer, batch_size=64, add_bos_token=True)
    # A folder may have a packaged model's name.
    packaged = loaded.identity["id"] if loaded.identity["synthetic"] else ""
    text = calibration.load_text(None, model=packaged)
    return noise.match_noise(loaded.model, lm, keep, text, seed=0), kept_neurons.all_neurons(
        loaded.model
    )
