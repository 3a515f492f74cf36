"""One task, or one group of tasks, from its definition to its rows, table and notes."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ppmlib.evaluation import harness, permuted_baseline, responses, samples, task_code
from ppmlib.evaluation.harness import RecordingLM
from ppmlib.evaluation.prompt_format import bos_warning, why_bos
from ppmlib.evaluation.samples import EvaluationError
from ppmlib.evaluation.tasks import LoadedTask, new_tokens
from ppmlib.model.quiet import quiet_libraries

ADDRESS = re.compile(r" at 0x[0-9a-f]+")  # in the text of a function without source


@dataclass
class Measured:
    """What one evaluation of a task gave."""

    table: pd.DataFrame  # a row per document
    rows: list[dict[str, Any]]  # a row per task, metric, filter and source
    notes: dict[str, Any]  # first prompt and the backend's counts
    lm_eval: dict[str, Any]  # lm-eval's own results, without samples, paths and dates


def check_task(task: LoadedTask, lm: RecordingLM, spec: Mapping[str, Any]) -> None:
    """Refuse what cannot work before anything is computed.

    Raises:
        EvaluationError: for a metric or filter the task does not have, new tokens that leave no
            room for a prompt, or no documents.
    """
    name, metric, filter_key = spec["name"], spec["metric"], spec["filter"]
    if task.group is not None:
        known = {config.metric for config in task.group.aggregate_metric_list or []}
        if not known:
            raise EvaluationError(f"{name}: a group without a score; name its {list(task.tasks)}")
    else:
        known = set(task.tasks[name].aggregation())
    if metric not in known:
        raise EvaluationError(f"{name}: no metric {metric!r}; it has {', '.join(sorted(known))}")
    for sub_name, sub in task.tasks.items():
        filters = [ensemble.name for ensemble in sub._filters]
        if filter_key not in filters:
            have = ", ".join(filters)
            raise EvaluationError(f"{sub_name}: no filter {filter_key!r}; it has {have}")
        if not len(sub.eval_docs):
            raise EvaluationError(f"{sub_name}: no documents")
        if sub.OUTPUT_TYPE == "generate_until" and new_tokens(sub) >= lm.max_length:
            raise EvaluationError(
                f"{sub_name}: {new_tokens(sub)} new tokens leave no room for a prompt in "
                f"{lm.max_length}; lower them with `generation: {{max_gen_toks: N}}`"
            )


def first_prompt(
    sub, lm: RecordingLM, *, apply_chat_template: bool, system_instruction: str | None = None
) -> str:
    """What the model reads of a task's first document, as `measure` would send it."""
    with quiet_libraries():
        sub.build_all_requests(
            limit=1,
            apply_chat_template=apply_chat_template,
            system_instruction=system_instruction,
            fewshot_as_multiturn=True,
            chat_template=lm.apply_chat_template if apply_chat_template else None,
            tokenizer_name=lm.tokenizer_name if apply_chat_template else "",
        )
    return "".join(part for part in sub.instances[0].args if isinstance(part, str))


def hashes(task: LoadedTask, indices: Mapping[str, list[int]] | None) -> dict[str, pd.DataFrame]:
    """Document and target hashes of every task, see `samples.document_hashes`."""
    return {
        name: samples.document_hashes(sub, indices[name] if indices else None)
        for name, sub in task.tasks.items()
    }


def static_description(task: LoadedTask, by_task: Mapping[str, pd.DataFrame]) -> dict[str, Any]:
    """What is known of a task before it runs and can change its numbers.

    Keys of examples, of a group and of code are there only where the task has such.
    """
    docs = pd.concat(by_task.values())
    subs = task.tasks.values()
    generates = [new_tokens(s) for s in subs if s.OUTPUT_TYPE == "generate_until"]
    first = next(iter(subs))
    definitions = {name: scrub(sub.dump_config()) for name, sub in task.tasks.items()}
    found = {}
    if examples := {name: _examples(sub) for name, sub in task.tasks.items() if _shots(sub)}:
        found["fewshot_sha256"] = samples.sha256_json(examples)
    if task.groups:
        groups = {name: _group(group) for name, group in task.groups.items()}
        found["groups_sha256"] = samples.sha256_json(groups)
    found |= task_code.described(subs)
    return {
        **found,
        "name": task.name,
        "version": str(task.group.version if task.group else first.VERSION),
        "num_fewshot": int(first.get_config("num_fewshot")),
        "output_type": task.output_type,
        "n": len(docs),
        "subtasks": {name: len(by_task[name]) for name in task.tasks} if task.group else None,
        "max_gen_toks": max(generates) if generates else None,
        "doc_sha256": samples.sha256_json(docs["doc_hash"].tolist()),
        "target_sha256": samples.sha256_json(docs["target_hash"].tolist()),
        "definition_sha256": samples.sha256_json(definitions),
    }


def _shots(sub) -> int:
    return int(sub.get_config("num_fewshot") or 0)


def _examples(sub) -> list[str]:
    """Hashes of the documents that a task's examples are drawn from, in order."""
    drawn_from = sub.sampler if hasattr(sub, "sampler") else sub
    return [samples.sha256_json(doc) for doc in drawn_from.fewshot_docs()]


def _group(group) -> dict[str, Any]:
    """What of a group decides its score: its tasks and how they are weighted."""
    metrics = [scrub(vars(config)) for config in group.aggregate_metric_list or []]
    return {"tasks": [sub.task_name for sub in group.get_all_tasks()], "metrics": metrics}


def scrub(value: Any) -> Any:
    """A JSON-ready copy in which absolute paths are shortened to names, task sources left out."""
    if isinstance(value, Mapping):
        return {str(k): scrub(v) for k, v in value.items() if k != "config_source"}
    if isinstance(value, (list, tuple)):
        return [scrub(item) for item in value]
    if isinstance(value, (str, Path)) and "\n" not in str(value) and Path(value).is_absolute():
        return Path(value).name
    if value is None or isinstance(value, (bool, int, float)):
        return value
    return value.item() if isinstance(value, np.generic) else ADDRESS.sub("", str(value))


def measure(
    lm: RecordingLM,
    task: LoadedTask,
    indices: Mapping[str, list[int]] | None,
    by_task: Mapping[str, pd.DataFrame],
    settings: Mapping[str, Any],
) -> Measured:
    """Evaluate a task once, with its permuted baseline; see `run.evaluate` for the settings.

    Raises:
        EvaluationError: if prompts do not start with the BOS they should, a batch was larger than
            asked for, or scores and documents disagree.
    """
    results = harness.run(
        lm,
        task,
        indices=indices,
        seeds=settings["lm_eval_seeds"],
        apply_chat_template=settings["apply_chat_template"],
        system_instruction=settings.get("system_instruction"),
    )
    logged = results.pop("samples")
    notes = _notes(lm, task, logged, settings)
    tables, rows = {}, []
    for name, sub in task.tasks.items():
        table = samples.document_table(sub, logged[name], by_task[name])
        if sub.OUTPUT_TYPE == "generate_until":
            _add_endings(lm, table, logged[name])
        chances = samples.chance_levels(sub, logged[name])
        scored = samples.metric_rows(sub, results["results"][name], table)
        own = [{**row, "source": "model", "chance": chances.get(row["metric"])} for row in scored]
        if sub.OUTPUT_TYPE == "generate_until" and "permuted" in settings["floors"]:
            # IFEval's checks draw words where a prompt leaves them open.
            with harness.seeded(settings["lm_eval_seeds"]):
                own += _permuted_rows(sub, table, scored, settings["floors"]["permuted"])
        tables[name] = table
        common = {
            "task": name,
            "n": len(table),
            "num_fewshot": int(sub.get_config("num_fewshot")),
            "version": str(sub.VERSION),
            "group": task.name if task.group else None,
        }
        rows += [common | row for row in own]
    plain = _plain(results, settings, lm)
    if task.group is None:
        return Measured(tables[task.name], rows, notes, plain)
    return Measured(_stack(task, tables), _group_rows(task, results, rows, tables), notes, plain)


def _notes(lm, task: LoadedTask, logged, settings: Mapping[str, Any]) -> dict[str, Any]:
    if lm.largest_batch > lm.batch_size:
        raise EvaluationError(f"{task.name}: lm-eval ran a batch of {lm.largest_batch}")
    has_bos = lm.bos_counts is not None and lm.tokenizer.bos_token_id is not None
    if settings["add_bos_token"] and has_bos and lm.bos_counts != {1}:
        counts = " or ".join(map(str, sorted(lm.bos_counts)))
        raise EvaluationError(
            f"{task.name}: prompts start with {counts} BOS tokens where add_bos_token asks for 1"
        )
    first = next(iter(logged.values()))[0]
    return {
        "first_prompt": first["arguments"][0][0],
        "first_token_ids": lm.first_ids,
        "bos": sorted(lm.bos_counts) if has_bos else None,
        "bos_warning": _bos_warning(lm, settings) if has_bos else None,
        "truncated": lm.truncated,
        "largest_batch": lm.largest_batch,
        "engine": lm.engine_notes,
        "kind": "perplexity" if "rolling" in task.output_type else "accuracy",
    }


def _bos_warning(lm: RecordingLM, settings: Mapping[str, Any]) -> str | None:
    family = lm.model.config.get_text_config().model_type
    reason = why_bos(lm.tokenizer, family, chat=settings["apply_chat_template"])
    return bos_warning(lm.bos_counts, reason)


def _add_endings(lm: RecordingLM, table: pd.DataFrame, entries) -> None:
    """Columns response_tokens, stopped, response_characters and response_repetition.

    response_tokens counts the generated ids to the end-of-text token or the end of the first stop
    string, both included; stopped is False where the limit of new tokens cut the response. The
    other two are of the text before that, see `responses`.
    """
    first_filter = entries[0]["filter"]
    endings = []
    for entry in (entry for entry in entries if entry["filter"] == first_filter):
        queue = lm.generated[entry["arguments"][0][0]]
        endings.append([queue.popleft() for _ in entry["resps"][0]][0])
    table["response_tokens"] = [tokens for tokens, _ in endings]
    table["stopped"] = [stopped for _, stopped in endings]
    for name, values in responses.describe_responses(table["response"]).items():
        table[name] = values


def _permuted_rows(
    sub, table: pd.DataFrame, model_rows, floor: Mapping[str, int]
) -> list[dict[str, Any]]:
    """Rows of the permuted baseline; its columns are added to the table."""
    columns, scores = permuted_baseline.score_permuted(sub, **floor)
    for key, values in columns.items():
        table[f"permuted:{key}"] = values
    rows = []
    for row in model_rows:
        key = f"{row['metric']},{row['filter']}"
        if key in scores:
            stderr = samples.column_stderr(table[f"permuted:{key}"])
            changed = {"value": scores[key], "stderr": stderr, "source": "permuted", "chance": None}
            rows.append(row | changed)
    return rows


def _stack(task: LoadedTask, tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """A group's documents in one table: column subtask, doc_id counted through all its tasks."""
    parts, offset = [], 0
    for name, table in tables.items():
        part = table.assign(doc_id=table["doc_id"] + offset)
        part.insert(1, "subtask", name)
        parts.append(part)
        offset += len(task.tasks[name].eval_docs)
    return pd.concat(parts, ignore_index=True)


def _group_rows(task: LoadedTask, results: Mapping, rows: list[dict], tables) -> list[dict]:
    """Rows of the group and its inner groups, before those of its tasks.

    Scores are lm-eval's, recomputed from the documents; floors and chance are weighted alike.
    """
    above = []
    for group in sorted(task.groups.values(), key=lambda g: g.name != task.name):
        names = [sub.task_name for sub in group.get_all_tasks()]
        sizes = np.array([len(tables[name]) for name in names])
        for config in group.aggregate_metric_list or []:
            shares = sizes if config.weight_by_size else np.ones(len(names))
            weights = dict(zip(names, shares / shares.sum(), strict=True))
            parts: dict[tuple, list[dict]] = {}
            for row in rows:
                if row["task"] in weights and row["metric"] == config.metric:
                    key = (row["metric"], row["filter"], row["source"])
                    parts.setdefault(key, []).append(row)
            for (metric, filter_key, source), below in parts.items():
                values = {
                    "task": group.name,
                    "n": int(sizes.sum()),
                    "version": str(group.version),
                    "group": None if group.name == task.name else task.name,
                    "chance": _weighted(below, weights, "chance"),
                }
                if source == "model":
                    values |= _checked(group.name, results, tables, metric, filter_key, weights)
                else:
                    values["value"] = _weighted(below, weights, "value")
                    values["stderr"] = _weighted_stderr(below, weights)
                above.append(below[0] | values)
    return above + rows


def _checked(name: str, results, tables, metric: str, filter_key: str, weights) -> dict[str, Any]:
    """A group's value and stderr from lm-eval, once its documents have confirmed the value."""
    found, key = results["results"][name], f"{metric},{filter_key}"
    recomputed = sum(weight * tables[task][key].mean() for task, weight in weights.items())
    samples.check(f"{name}: {key}", found[key], recomputed)
    stderr = found.get(f"{metric}_stderr,{filter_key}")
    return {
        "value": float(found[key]),
        "stderr": float(stderr) if isinstance(stderr, (int, float)) else None,
    }


def _weighted(below: list[dict], weights: Mapping[str, float], column: str) -> float | None:
    values = [row[column] for row in below]
    if None in values or len(values) < len(weights):
        return None
    return float(sum(weights[row["task"]] * row[column] for row in below))


def _weighted_stderr(below: list[dict], weights: Mapping[str, float]) -> float | None:
    if any(row["stderr"] is None for row in below):
        return None
    return float(np.sqrt(sum((weights[row["task"]] * row["stderr"]) ** 2 for row in below)))


def _plain(results: Mapping, settings: Mapping[str, Any], lm) -> dict[str, Any]:
    """lm-eval's own results as its users' tools read them: no samples, paths, host or date."""
    names = ("random_seed", "numpy_seed", "torch_seed", "fewshot_seed")
    config = {
        "model": lm.model_type,
        "model_args": {k: settings[k] for k in ("add_bos_token", "max_length", "softmax_dtype")},
        "batch_size": lm.batch_size,
        "limit": None,
        "bootstrap_iters": harness.BOOTSTRAP_ITERS,
        "gen_kwargs": settings["generation"],
        **dict(zip(names, settings["lm_eval_seeds"], strict=True)),
    }
    return scrub(results) | {"config": config, "lm_eval_version": metadata.version("lm_eval")}
