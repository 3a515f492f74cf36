"""The permuted baseline: a model's responses, scored at other documents of the same task.

The difference between own and permuted responses is the part of the score that depends on the
prompt.
"""

import copy
from collections.abc import Iterator

import numpy as np

from ppmlib.evaluation.samples import EvaluationError, column_value

PERMUTATIONS = 5


def donors(n: int, *, seed: int, permutations: int = PERMUTATIONS) -> Iterator[np.ndarray]:
    """Whose response each of n documents gets: (n,) indices per permutation.

    The documents are put in one seeded random order and shifted along it by 1, 2, ...: no document
    ever gets its own response or the same donor twice, and every response is used once per
    permutation. Fewer permutations where n - 1 is less.

    Raises:
        ValueError: for fewer than two documents.
    """
    if n < 2:
        raise ValueError(f"{n} document: responses cannot be permuted")
    order = np.random.default_rng(seed).permutation(n)
    for shift in range(1, min(permutations, n - 1) + 1):
        assigned = np.empty(n, dtype=int)
        assigned[order] = np.roll(order, shift)
        yield assigned


def score_permuted(task, *, seed: int = 0, permutations: int = PERMUTATIONS):
    """Score a generation task's responses at documents they were not written for.

    The raw responses are permuted and go through the task's own filters and `process_results`
    again, so a filter that reads the document reads the new one. Five permutations are averaged:
    a single one would add noise to every comparison, and scoring costs little compared with
    generating.

    Args:
        task: an lm-eval task that has just been evaluated (its instances hold responses).
        seed: of the order of the documents.
    Returns:
        (columns, scores): columns maps `<metric>,<filter>` to one value per document, in the order
        of the task's instances, the mean over permutations (element by element where a document
        has several answers); scores maps the same keys to the task's own aggregate, the mean over
        permutations.
    Raises:
        EvaluationError: if the task does not generate or has fewer than two documents.
    """
    from lm_eval.api.metrics import mean

    instances = task.instances
    if task.OUTPUT_TYPE != "generate_until":
        raise EvaluationError(f"{task.task_name}: no responses to permute ({task.OUTPUT_TYPE})")
    if len(instances) < 2:
        raise EvaluationError(f"{task.task_name}: one document, its response has nowhere to go")
    by_document: dict[str, list[list]] = {}
    by_permutation: dict[str, list[float]] = {}
    for assigned in donors(len(instances), seed=seed, permutations=permutations):
        for key, values in _scored(task, instances, assigned).items():
            columns = [column_value(value) for value in values]
            if None in columns:
                continue
            by_document.setdefault(key, []).append(columns)
            aggregate = task.aggregation().get(key.partition(",")[0], mean)
            by_permutation.setdefault(key, []).append(float(aggregate(values)))
    columns = {key: _average(runs) for key, runs in by_document.items()}
    scores = {key: float(np.mean(values)) for key, values in by_permutation.items()}
    return columns, scores


def _scored(task, instances, assigned: np.ndarray) -> dict[str, list]:
    exchanged = []
    for instance, donor in zip(instances, assigned, strict=True):
        other = copy.copy(instance)
        other.resps, other.filtered_resps = list(instances[donor].resps), {}
        exchanged.append(other)
    for ensemble in task._filters:
        ensemble.apply(exchanged)
    values: dict[str, list] = {}
    for filter_key in exchanged[0].filtered_resps:
        for instance in exchanged:
            metrics = task.process_results(instance.doc, [instance.filtered_resps[filter_key]])
            for metric, value in metrics.items():
                values.setdefault(f"{metric},{filter_key}", []).append(value)
    return values


def _average(runs: list[list]) -> list:
    """Mean over permutations, document by document; lists are averaged element by element."""
    means = [np.mean(per_document, axis=0) for per_document in zip(*runs, strict=True)]
    return [mean.tolist() for mean in means]
