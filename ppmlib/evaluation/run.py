"""Run lm-eval's tasks on one model: tidy rows, and what happened to every document.

One call per task, saved at once, reused when its fingerprint fits. The dense model and every width
take the same path with the same settings.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from ppmlib import bench
from ppmlib.evaluation import batch_sizes, protocol
from ppmlib.evaluation.samples import EvaluationError
from ppmlib.evaluation.saved import SavedTask
from ppmlib.record.evaluation_records import REPEAT
from ppmlib.study_file.selection import WIDTH_FLOORS

COLUMNS = (
    *("task", "metric", "filter", "value", "stderr", "n", "chance", "source", "axis", "headline"),
    *("higher_is_better", "num_fewshot", "version", "group"),
)

__all__ = ["Evaluation", "EvaluationError", "evaluate"]


@dataclass
class Evaluation:
    """All tasks of one run: rows, per-document tables, settings."""

    rows: pd.DataFrame  # a row per task, metric, filter and source
    samples: dict[str, pd.DataFrame]  # by task: a row per document
    tasks: dict[str, dict[str, Any]]  # by task: version, hashes, first prompt, ...
    inputs: dict[str, Any]  # everything that can change the numbers
    files: list[Path]
    measured: dict[str, Any]  # seconds of each task in this call, and which were only read
    reused: list[str]  # tasks stored by an earlier call
    skipped: dict[str, str]  # by task: why a trivial baseline cannot answer it

    def results(self) -> dict[str, Any]:
        """`rows` and `tasks` as plain JSON values: null where a number does not exist."""
        rows = self.rows.astype(object).where(self.rows.notna(), None)
        return {"rows": rows.to_dict("records"), "tasks": self.tasks, "skipped": self.skipped}


def evaluate(
    loaded,
    tasks: Sequence[Mapping[str, Any]],
    *,
    root: Path,
    run: str,
    kept_inputs: Mapping[str, Any],
    batch_size: int,
    engine: str = "plain",
    add_bos_token: bool,
    apply_chat_template: bool = False,
    system_instruction: str | None = None,
    max_length: int | None = None,
    softmax_dtype: str | None = None,
    lm_eval_seeds: Sequence[int] = (0, 1234, 1234, 1234),
    subset: Mapping[str, int] | None = None,
    generation: Mapping[str, int] | None = None,
    floors: Sequence[str] = WIDTH_FLOORS,
    floor_seed: int = 0,
    task_folders: Sequence[Path] | None = None,
    progress: Callable[[str, int, int, float], None] | None = None,
) -> Evaluation:
    """Evaluate a model, pruned or dense, on lm-eval tasks; each task is saved as it is finished.

    Args:
        loaded: a `models.Loaded`, its model already sliced; or a trivial baseline, as
            `trivial_baselines.load` gives it, which leaves out the tasks it cannot answer.
        tasks: dicts with name, num_fewshot, metric, filter, axis; a name may be a group's. Also
            batch_size, add_bos_token, apply_chat_template and system_instruction where a task has
            another than all.
        root, run: results go to `<root>/samples/<run>/<task>.{parquet,json,lm-eval.json}`.
        kept_inputs: what identifies the kept neurons, for instance `{"keep_sha256": ...}`.
        batch_size: documents per batch; set on lm-eval's model, where it counts.
        engine: `plain` is lm-eval's Hugging Face backend; `fast` gives its numbers and encodes
            nothing twice.
        add_bos_token: every prompt starts with one BOS; False is lm-eval 0.4.9.1's behaviour.
        system_instruction: text before every prompt; with a chat template its system message.
        max_length: tokens; None is the model's own limit.
        lm_eval_seeds: for random, numpy, torch and the few-shot sampler.
        subset: `{n, seed}`: n documents per task, the same ones at every width; None is all.
        generation: `{max_gen_toks: N}` lowers the number of new tokens.
        floors: kinds of floor to measure; there is 'permuted'.
        task_folders: folders with task YAMLs, before lm-eval's own; None is the bench tasks'.
        progress: called after each task with its name, tasks done, tasks in all, seconds.
    Raises:
        EvaluationError: naming the task and what does not fit. A task that runs out of memory is
            noted in the folder, see `batch_sizes`.
    """
    from ppmlib.evaluation import backends, harness, trivial_baselines

    started = time.perf_counter()
    settings = protocol.Settings(
        batch_size=batch_size,
        engine=engine,
        add_bos_token=add_bos_token,
        apply_chat_template=apply_chat_template,
        system_instruction=system_instruction,
        max_length=max_length,
        softmax_dtype=softmax_dtype,
        lm_eval_seeds=lm_eval_seeds,
        subset=subset,
        generation=generation,
        floors=floors,
        floor_seed=floor_seed,
    )
    settings.check(tasks)
    if "responder" in loaded.identity:
        lm = trivial_baselines.backend(loaded, max_length=max_length)
    else:
        lm = backends.load(
            loaded.model,
            loaded.tokenizer,
            batch_size=batch_size,
            add_bos_token=add_bos_token,
            max_length=max_length,
            softmax_dtype=softmax_dtype,
            engine=engine,
        )
    common = {
        **kept_inputs,
        "model": protocol.model_inputs(loaded),
        "settings": settings.inputs(loaded.tokenizer, max_length=lm.max_length),
    }
    folders = [bench.tasks_dir()] if task_folders is None else task_folders
    done: dict[str, dict[str, Any]] = {}
    skipped: dict[str, str] = {}
    seconds: dict[str, float] = {}
    reused = []
    for number, spec in enumerate(tasks, start=1):
        task_started = time.perf_counter()
        name = spec["name"]
        with harness.seeded(lm_eval_seeds):
            saved = SavedTask(root, run, name)
            found, fresh = _evaluate_task(lm, spec, common, saved, folders, loaded.identity)
        if isinstance(found, str):
            skipped[name] = found
            continue
        done[name] = found
        reused += [] if fresh else [name]
        seconds[name] = time.perf_counter() - task_started
        if progress is not None:
            progress(name, number, len(tasks), seconds[name])
    if not done:
        reasons = "; ".join(f"{name}: {why}" for name, why in skipped.items())
        raise EvaluationError(f"{loaded.identity['id']} can answer no task ({reasons})")
    saved = {name: SavedTask(root, run, name) for name in done}
    described = {name: stored["inputs"]["task"] for name, stored in done.items()}
    specs = [spec for spec in tasks if spec["name"] in done]
    return Evaluation(
        rows=pd.DataFrame([row for s in specs for row in _labelled(done[s["name"]], s)]),
        samples={name: pd.read_parquet(saved[name].file("parquet")) for name in done},
        tasks={name: stored["task"] for name, stored in done.items()},
        inputs={**common, "tasks": described},
        files=[file for name in done for file in saved[name].files],
        measured={
            "seconds_per_task": seconds,
            "reused_tasks": reused,
            "wall_s": time.perf_counter() - started,
        },
        reused=reused,
        skipped=skipped,
    )


def _evaluate_task(
    lm, spec, common, saved: SavedTask, folders, identity
) -> tuple[dict[str, Any] | str, bool]:
    """One task's stored result, or why it has none, and whether it was evaluated now."""
    import torch

    from ppmlib.evaluation import taskrun
    from ppmlib.evaluation import tasks as lm_eval_tasks

    settings = common["settings"]
    task = lm_eval_tasks.load(
        spec["name"],
        num_fewshot=spec["num_fewshot"],
        fewshot_seed=settings["lm_eval_seeds"][3],
        generation=settings["generation"],
        folders=folders,
    )
    taskrun.check_task(task, lm, spec)
    sizes = {name: len(sub.eval_docs) for name, sub in task.tasks.items()}
    indices = protocol.subset_indices(sizes, settings["subset"], group=task.name)
    if "responder" in identity and (reason := lm.prepare(task, indices)):
        return reason, False
    hashes = taskrun.hashes(task, indices)
    inputs = {**common, "task": taskrun.static_description(task, hashes)}
    own = protocol.own_format(spec, settings, lm.tokenizer)
    inputs["task"] |= own
    if "responder" not in identity:
        lm.add_bos_token = own.get("add_bos_token", settings["add_bos_token"])
        lm.batch_size_per_gpu = spec.get("batch_size", settings["batch_size"])
        if "batch_size" in spec:
            inputs["task"]["batch_size"] = spec["batch_size"]
    if stored := saved.read(inputs):
        return stored, False
    try:
        measured = taskrun.measure(lm, task, indices, hashes, settings | own)
    except torch.OutOfMemoryError as error:
        raise _out_of_memory(saved, settings["engine"], lm.batch_size) from error
    return saved.write(inputs, measured, identity), True


def _out_of_memory(saved: SavedTask, engine: str, tried: int) -> EvaluationError:
    run, task = saved.run, saved.task
    smaller = batch_sizes.halve_batch_size(saved.root, run, engine, task, tried)
    if smaller is None:
        remedy = "`engine: fast` needs less, it never holds the logits of a whole document"
        if run == REPEAT:
            remedy = f"leave out aa_batch_size: the {engine} engine cannot repeat it here"
        return EvaluationError(f"{task}: out of memory with one document at a time; {remedy}")
    where = "aa_batch_size" if run == REPEAT else "the batch size of every width"
    return EvaluationError(
        f"{task}: out of memory at batch size {tried}; set {where} to {smaller} or less (a study "
        "goes on with that by itself)"
    )


def _labelled(stored: Mapping[str, Any], spec: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A task's rows with the axis and the mark of its headline metric.

    Raises:
        EvaluationError: if the task does not have the metric and filter the study names.
    """
    key = (spec["name"], spec["metric"], spec["filter"])
    found = sorted({(r["metric"], r["filter"]) for r in stored["rows"] if r["task"] == key[0]})
    if key[1:] not in found:
        have = "; ".join(",".join(pair) for pair in found) or "none of its own"
        raise EvaluationError(f"{key[0]}: no metric {','.join(key[1:])}; it has {have}")
    rows = []
    for row in stored["rows"]:
        headline = (row["task"], row["metric"], row["filter"]) == key
        labelled = {**row, "axis": spec["axis"], "headline": headline}
        rows.append({column: labelled[column] for column in COLUMNS})
    return rows
