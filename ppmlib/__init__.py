"""ppmlib: width-pruning studies of GLU-MLP language models, as notebooks.

Six verbs for interactive work: `load`, `score`, `select`, `slice`, `evaluate`, `study`. The rest is
what the notebooks call; a study is run by the `ppm` command. ARCHITECTURE.md shows the flow.

A room imports rooms above it in this list, never below.

record/      atomic files, fingerprints, verified reading, provenance
bench/       the packaged bench model: its world, its lm-eval tasks, its weights
data/        the data root and the hub: where models and data sets are read from
model/       find the GLU, load a model, its folder read without torch, random shapes, the device
study_file/  the study file: its schema, `extends`, mistakes in plain words
prune/       scores, fast row reading, selection, slicing, noise, export
evaluation/  lm-eval: run, subject, tasks, samples, permuted and trivial baselines
  fast/      shared prefixes encoded once, greedy generation in slots
profile/     time, memory and energy of every width
statistics/  paired changes, resampling, proportions, documents crossed with seeds
simulations/ coverage, false positives and power of these statistics (notebook 8)
analyse/     records to tables with verdicts (notebooks 5 and 7)
published/   the paper's tables, judged (notebook 6)
show/        sentences, tables and figures
page/        executed notebooks and records to self-contained HTML
workflow/    the Snakefile, the plan, the process that runs one notebook, rerun
offline/     fill a data root, check that everything loads without a network
cli          the `ppm` command
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import pandas as pd
    from torch import Tensor

    from ppmlib.analyse.tables import StudyTables
    from ppmlib.model.models import Loaded

__all__ = ["evaluate", "load", "score", "select", "slice", "study"]


def load(
    model: str, *, revision: str | None = None, dtype: str = "float32", device: str | None = None
) -> Loaded:
    """Load a causal language model with its tokenizer.

    Args:
        model: a packaged name (`bench`, `bench-small`), a folder, or a hub id `owner/name`.
        revision: commit, tag or branch of a hub id.
        dtype: of the weights: float32, bfloat16, float16 or float64.
        device: None takes CUDA where there is one.
    Returns:
        an object with `.model` and `.tokenizer`.
    Raises:
        ModelError: if the model cannot be found, is incomplete, or needs remote code.
    """
    from ppmlib.model import models

    return models.load(model, revision=revision, dtype=dtype, device=device)


def score(loaded: Loaded, criterion: str = "ppm", *, seed: int = 0) -> Tensor:
    """Score every GLU neuron: (num_layers, intermediate_size) float32, higher stays longer.

    Args:
        criterion: ppm (arXiv 2512.22671), l2, vow, pon, inverse, random, or `file.py:function`.
        seed: of `random` only.
    Raises:
        ValueError: for an unknown criterion, or a weight or score that is not finite.
    """
    from ppmlib.prune import scoring

    return scoring.score_model(loaded.model, criterion, seed)


def select(
    loaded: Loaded,
    scores: Tensor,
    *,
    pruning_ratio: float | None = None,
    expansion_ratio: float | None = None,
    keep_multiple_of: int = 1,
) -> Tensor:
    """Choose the neurons that stay in each layer: (num_layers, k) indices, ascending.

    Args:
        scores: of `score`.
        pruning_ratio: share of the neurons to remove, in [0, 1); or
        expansion_ratio: intermediate_size / hidden_size to reach.
        keep_multiple_of: k is rounded down to a multiple of this.
    Raises:
        ValueError: unless exactly one ratio is given and it fits the model.
    """
    from ppmlib.model import glu
    from ppmlib.prune import selection
    from ppmlib.study_file.selection import Selection

    wanted = Selection(
        pruning_ratio=pruning_ratio,
        expansion_ratio=expansion_ratio,
        keep_multiple_of=keep_multiple_of,
    )
    shape = glu.intermediate_size(loaded.model), glu.hidden_size(loaded.model)
    return selection.select_layers(scores, wanted.keep_count(*shape))


def slice(loaded: Loaded, keep: Tensor) -> Loaded:
    """A narrower copy of a model that has only the kept neurons; the model itself stays as it is.

    Args:
        keep: (num_layers, k) indices of `select`.
    Raises:
        ValueError: if the indices do not fit the model.
    """
    import copy
    import dataclasses

    from ppmlib.prune import slicing

    narrow = copy.deepcopy(loaded.model)
    slicing.slice_mlps(narrow, keep)
    return dataclasses.replace(loaded, model=narrow)


def evaluate(
    loaded: Loaded,
    tasks: Sequence[str | Mapping[str, Any]],
    *,
    limit: int | None = None,
    batch_size: int = 1,
    add_bos_token: bool = True,
    apply_chat_template: bool = False,
    engine: str = "plain",
) -> pd.DataFrame:
    """Evaluate a model on lm-eval tasks: one row per task and metric, nothing is kept on disk.

    Args:
        tasks: names of lm-eval's or the bench model's tasks, with the shots of their definition;
            or rows as in a study file (name, num_fewshot, metric, filter, axis).
        limit: evaluate this many documents per task, drawn with seed 0; None is all.
        batch_size: documents per batch. add_bos_token: start every prompt with one BOS.
        apply_chat_template: wrap prompts in the tokenizer's chat template.
        engine: `plain` is lm-eval's backend; `fast` gives its numbers sooner.
    Returns:
        task, metric, filter, source (the model, or its responses permuted over the documents),
        value, stderr, n and chance.
    Raises:
        EvaluationError: naming the task and what does not fit.
    """
    import tempfile
    from pathlib import Path

    from ppmlib import bench
    from ppmlib.evaluation import run
    from ppmlib.evaluation.tasks import default_spec

    folders = [bench.tasks_dir()]
    specs = [default_spec(task, folders) if isinstance(task, str) else task for task in tasks]
    with tempfile.TemporaryDirectory() as folder:
        evaluated = run.evaluate(
            loaded,
            specs,
            root=Path(folder),
            run="library",
            kept_inputs={},
            batch_size=batch_size,
            add_bos_token=add_bos_token,
            apply_chat_template=apply_chat_template,
            engine=engine,
            subset=None if limit is None else {"n": limit, "seed": 0},
        )
    columns = ["task", "metric", "filter", "source", "value", "stderr", "n", "chance"]
    return evaluated.rows[columns]


def study(folder: str | Path) -> StudyTables:
    """Read a finished study, its hashes checked: tables as DataFrames, conclusions as sentences.

    Args:
        folder: a report folder, for instance `reports/example-bench`.
    Returns:
        `scores`, `verdicts` and `claims` (DataFrames), `conclusions` and `limits` (sentences).
    Raises:
        RecordError: if a record is missing or damaged.
    """
    from ppmlib.analyse import tables

    return tables.read_tables(folder)
