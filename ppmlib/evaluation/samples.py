"""What lm-eval logged of one task: a row per document, a row per metric, chance levels, hashes."""

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

HASH_LENGTH = 16  # hexadecimal digits of a document's hash in the per-document tables
PROMPT_END = 240  # characters kept of a generation task's prompt and target
CLUSTER_FIELDS = ("narrative", "passage")  # documents with the same one are not independent
CHOICE_METRICS = ("acc", "acc_norm", "acc_bytes", "acc_mutual_info")
WEIGHTS = {"word_perplexity": "words", "byte_perplexity": "bytes", "bits_per_byte": "bytes"}
TOLERANCE = 1e-9  # relative, between lm-eval's score and the one recomputed from documents
CERTAIN, IMPOSSIBLE = 0.0, -1e3  # log-likelihoods of the chosen option and of the others


class EvaluationError(Exception):
    """An evaluation cannot run, or its numbers disagree; the message names the task."""


def sha256_json(value: Any) -> str:
    """SHA-256 of a value's JSON: sorted keys, numpy values and sets as lm-eval writes them."""
    from lm_eval.utils import handle_non_serializable

    text = json.dumps(value, sort_keys=True, ensure_ascii=False, default=handle_non_serializable)
    return hashlib.sha256(text.encode()).hexdigest()


def document_hashes(task, indices: Sequence[int] | None) -> pd.DataFrame:
    """Hashes of a task's documents and targets: columns doc_id, doc_hash, target_hash.

    doc_id is lm-eval's: the document's position in the evaluation split.
    """
    rows = []
    for position, doc in task.doc_iterator(samples=indices):
        doc_id = indices[position] if indices else position
        rows.append((doc_id, sha256_json(doc), sha256_json(task.doc_to_target(doc))))
    table = pd.DataFrame(rows, columns=["doc_id", "doc_hash", "target_hash"])
    for column in ("doc_hash", "target_hash"):
        table[column] = table[column].str[:HASH_LENGTH]
    return table


def column_value(value: Any) -> float | list[float] | None:
    """A document's metric as it goes into the table: a float, a list of floats, or None."""
    if isinstance(value, (list, tuple)):
        parts = [column_value(part) for part in value]
        return parts if parts and all(isinstance(part, float) for part in parts) else None
    return float(value) if np.isscalar(value) and not isinstance(value, str) else None


def document_table(task, entries: Sequence[Mapping], hashes: pd.DataFrame) -> pd.DataFrame:
    """One row per document of one task: doc_id, doc_hash, target_hash and its outcomes.

    Args:
        entries: lm-eval's samples of the task, one per document and filter.
        hashes: what `document_hashes` gave for the same documents.
    Returns:
        columns `<metric>,<filter>` in lm-eval's key style (a float, or a list of floats where a
        document has several answers); for generation `response` (text before the first stop
        string, unfiltered), the end of the prompt, and the target; for rolling log-likelihood
        loglikelihood, words and bytes, and for the perplexity of targets loglikelihood: a
        perplexity is not a mean over documents.
    """
    rows: dict[int, dict[str, Any]] = {}
    for entry in entries:
        row = rows.setdefault(entry["doc_id"], {"doc_id": entry["doc_id"]})
        for metric in entry["metrics"]:
            if task.OUTPUT_TYPE == "loglikelihood_rolling" and metric in WEIGHTS:
                log_likelihood, weight = entry[metric]  # weight: words or bytes
                row |= {"loglikelihood": float(log_likelihood), WEIGHTS[metric]: int(weight)}
            elif is_target_perplexity(task, metric):
                row["loglikelihood"] = float(entry[metric])
            elif (value := column_value(entry[metric])) is not None:
                row[f"{metric},{entry['filter']}"] = value
        if task.OUTPUT_TYPE == "generate_until":
            row |= {
                "prompt_end": entry["arguments"][0][0][-PROMPT_END:],
                "target": str(entry["target"])[:PROMPT_END],
                "response": entry["resps"][0][0],
            }
        if "instruction_id_list" in entry["doc"]:
            row["instruction_ids"] = list(entry["doc"]["instruction_id_list"])
        for field in CLUSTER_FIELDS:
            if isinstance(entry["doc"].get(field), str):
                row["cluster"] = sha256_json(entry["doc"][field])[:HASH_LENGTH]
    table = hashes.merge(pd.DataFrame(list(rows.values())), on="doc_id", validate="one_to_one")
    if len(table) != len(hashes):
        raise EvaluationError(f"{task.task_name}: {len(hashes)} documents, {len(table)} scored")
    return table


def is_target_perplexity(task, metric: str) -> bool:
    """Whether a metric is exp of minus the mean log-likelihood of the targets (LAMBADA's)."""
    from lm_eval.api.metrics import perplexity

    return task.aggregation().get(metric) is perplexity


def ratio_stderr(sums: Iterable[float], weights: Iterable[float]) -> float | None:
    """Standard error of sum(sums) / sum(weights) over independent documents, by the delta method.

    With weights 1 it is the standard error of a mean. None for fewer than two documents.
    """
    sums, weights = np.asarray(list(sums), float), np.asarray(list(weights), float)
    n = len(sums)
    if n < 2:
        return None
    residuals = sums - sums.sum() / weights.sum() * weights
    return float(np.sqrt(n / (n - 1) * (residuals**2).sum()) / weights.sum())


def column_stderr(values: pd.Series) -> float | None:
    """Standard error of a column's score; documents with several answers count as clusters."""
    if isinstance(values.iloc[0], float):
        return ratio_stderr(values, np.ones(len(values)))
    return ratio_stderr(map(sum, values), map(len, values))


def rolling_score(metric: str, table: pd.DataFrame) -> tuple[float, float | None]:
    """Value and standard error of a rolling metric, from loglikelihood, words and bytes.

    word_perplexity and byte_perplexity: exp of minus the log-likelihood per word or byte;
    bits_per_byte: minus the log-likelihood per byte over ln 2. Errors by the delta method; lm-eval
    gives none for these.
    """
    weights = table[WEIGHTS[metric]]
    per_unit = -table["loglikelihood"].sum() / weights.sum()
    stderr = ratio_stderr(-table["loglikelihood"], weights)
    scale = 1 / math.log(2) if metric == "bits_per_byte" else math.exp(per_unit)
    value = scale * per_unit if metric == "bits_per_byte" else scale
    return float(value), None if stderr is None else stderr * scale


def metric_rows(task, results: Mapping, table: pd.DataFrame) -> list[dict[str, Any]]:
    """Every metric and filter of one task: metric, filter, value, stderr, higher_is_better.

    stderr is lm-eval's where it has one, else the delta method's, else null.

    Raises:
        EvaluationError: if a value is not finite, or a score recomputed from the documents is not
            lm-eval's.
    """
    from lm_eval.api.metrics import mean

    rows = []
    for key, value in results.items():
        metric, _, filter_key = key.partition(",")
        if not filter_key or metric.endswith("_stderr"):
            continue
        stderr = results.get(f"{metric}_stderr,{filter_key}")
        stderr = stderr if isinstance(stderr, (int, float)) else None
        recomputed = None
        if task.OUTPUT_TYPE == "loglikelihood_rolling" and metric in WEIGHTS:
            recomputed, stderr = rolling_score(metric, table)
        elif is_target_perplexity(task, metric):
            recomputed = math.exp(-table["loglikelihood"].mean())
        elif key in table:
            if task.aggregation().get(metric, mean) is mean:
                recomputed = table[key].mean()
            if stderr is None and isinstance(table[key].iloc[0], list):
                stderr = column_stderr(table[key])
        check(f"{task.task_name}: {key}", value, recomputed)
        rows.append(
            {
                "metric": metric,
                "filter": filter_key,
                "value": float(value),
                "stderr": None if stderr is None else float(stderr),
                "higher_is_better": bool(task.higher_is_better().get(metric, True)),
            }
        )
    return rows


def check(name: str, value: float, recomputed: float | None) -> None:
    """EvaluationError if a score is not finite or the documents do not give it."""
    if not isinstance(value, (int, float, np.number)) or not math.isfinite(value):
        raise EvaluationError(f"{name} is {value}: not a finite number")
    if recomputed is not None and not math.isclose(
        value, recomputed, rel_tol=TOLERANCE, abs_tol=TOLERANCE
    ):
        raise EvaluationError(f"{name}: lm-eval says {value}, its documents give {recomputed}")


def chance_levels(task, entries: Sequence[Mapping]) -> dict[str, float]:
    """Expected score of picking one option of each document at random, by metric.

    For plain multiple choice the mean of correct over all options; for a task with its own scoring
    (truthfulqa_mc2) the mean over documents and options of its score when that option has all the
    probability. Empty for other kinds of task: they have no chance level.
    """
    if task.OUTPUT_TYPE != "multiple_choice":
        return {}
    first_filter = entries[0]["filter"]
    documents = [entry for entry in entries if entry["filter"] == first_filter]
    if callable(task.config.process_results):
        return _chance_by_scoring(task, documents)
    halves = 2 if "acc_mutual_info" in documents[0]["metrics"] else 1
    levels = []
    for entry in documents:
        options = len(entry["arguments"]) // halves
        gold = entry["target"]
        if task.multiple_input:
            gold = task.doc_to_text(entry["doc"])
        right = {g for g in gold if g < options} if isinstance(gold, list) else {gold}
        levels.append(len(right) / options)
    return {metric: float(np.mean(levels)) for metric in CHOICE_METRICS}


def _chance_by_scoring(task, documents: Sequence[Mapping]) -> dict[str, float]:
    sums: dict[str, list[float]] = {}
    for entry in documents:
        options = range(len(entry["arguments"]))
        scores = [
            task.process_results(
                entry["doc"], [(CERTAIN if j == i else IMPOSSIBLE, j == i) for j in options]
            )
            for i in options
        ]
        for metric in scores[0]:
            values = [column_value(score[metric]) for score in scores]
            if all(isinstance(value, float) for value in values):
                sums.setdefault(metric, []).append(float(np.mean(values)))
    return {metric: float(np.mean(values)) for metric, values in sums.items()}
