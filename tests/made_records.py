"""Made-up evaluation, pruning and profiling records of a small study, for tests of the analysis.

Every document has a difficulty; a model of quality q answers it when q is above it, so that widths
are paired as real ones are. Nothing here is a measurement.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from ppmlib.record import records
from ppmlib.study_file.selection import Selection

HIDDEN, DENSE_WIDTH = 128, 512
TASKS = [
    {
        "name": "made_knowledge",
        "num_fewshot": 0,
        "metric": "acc_norm",
        "filter": "none",
        "axis": "knowledge",
    },
    {
        "name": "made_sums",
        "num_fewshot": 0,
        "metric": "exact_match",
        "filter": "none",
        "axis": "mathematics",
    },
    {
        "name": "made_tracking",
        "num_fewshot": 0,
        "metric": "acc",
        "filter": "none",
        "axis": "reasoning",
    },
    {
        "name": "made_instructions",
        "num_fewshot": 0,
        "metric": "prompt_level_strict_acc",
        "filter": "none",
        "axis": "instruction",
    },
    {
        "name": "made_mc2",
        "num_fewshot": 0,
        "metric": "acc",
        "filter": "none",
        "axis": "truthfulness",
    },
    {
        "name": "made_text",
        "num_fewshot": 0,
        "metric": "word_perplexity",
        "filter": "none",
        "axis": "language",
    },
    {"name": "made_null", "num_fewshot": 0, "metric": "acc", "filter": "none", "axis": "planted"},
    {"name": "made_fall", "num_fewshot": 0, "metric": "acc", "filter": "none", "axis": "planted"},
    {"name": "made_trap", "num_fewshot": 0, "metric": "acc", "filter": "none", "axis": "planted"},
]
GENERATED = ("made_sums", "made_instructions", "made_trap")
CHANCE = {
    "made_knowledge": 0.25,
    "made_tracking": 0.25,
    "made_null": 0.5,
    "made_fall": 0.25,
    "made_mc2": 0.5,
}
# Share of documents answered right at 0, 10, ..., 60% removed.
QUALITY = {
    "made_knowledge": (0.90, 0.90, 0.88, 0.85, 0.75, 0.55, 0.35),
    "made_sums": (0.95, 0.93, 0.90, 0.80, 0.50, 0.30, 0.08),
    "made_tracking": (0.60, 0.60, 0.61, 0.60, 0.60, 0.59, 0.59),
    "made_instructions": (0.60, 0.60, 0.62, 0.64, 0.68, 0.60, 0.40),
    "made_mc2": (0.60, 0.60, 0.61, 0.62, 0.63, 0.62, 0.60),
    "made_fall": (0.95, 0.90, 0.80, 0.65, 0.50, 0.40, 0.30),
    "made_trap": (0.60, 0.60, 0.62, 0.63, 0.64, 0.66, 0.70),
}
PLANTED = {"made_null": "null", "made_fall": "fall", "made_trap": "trap"}


def outcomes(task: str, step: float, n: int) -> dict[str, list]:
    """Columns of one task at `step` tenths removed (random selections use a larger step)."""
    rng = np.random.default_rng(sum(map(ord, task)))
    hard, noise = rng.random(n), np.random.default_rng([int(10 * step), n, len(task)])
    if task == "made_text":
        words = rng.integers(8, 20, n)
        loss = (rng.normal(2.0, 0.3, n) + step * (0.12 + noise.normal(0, 0.05, n))) * words
        return {
            "loglikelihood": (-loss).tolist(),
            "words": words.tolist(),
            "bytes": (5 * words).tolist(),
        }
    if task == "made_null":
        flips = noise.random(n) < 0.1
        right = (rng.random(n) < 0.5) ^ (flips & (noise.random(n) < 0.5))
        return {"acc,none": right.astype(float).tolist()}
    quality = float(np.interp(step, range(7), QUALITY[task]))
    right = (hard + noise.normal(0, 0.03, n) < quality).astype(float)
    if task == "made_mc2":
        share = np.clip(quality + 0.3 * (0.5 - hard) + noise.normal(0, 0.02, n), 0, 1)
        return {"acc,none": share.tolist()}
    if task == "made_instructions":
        parts = [
            [float(r)] + [float(v) for v in (noise.random(int(k)) < quality)]
            for r, k in zip(right, rng.integers(0, 3, n), strict=True)
        ]
        strict = [float(all(p)) for p in parts]
        loose = np.maximum(strict, noise.random(n) < 0.02).astype(float).tolist()
        return {
            "prompt_level_strict_acc,none": strict,
            "inst_level_strict_acc,none": parts,
            "prompt_level_loose_acc,none": loose,
            "inst_level_loose_acc,none": parts,
        }
    if task == "made_knowledge":
        return {
            "acc,none": np.maximum(right - (noise.random(n) < 0.05), 0).tolist(),
            "acc_norm,none": right.tolist(),
        }
    return {"exact_match,none" if task == "made_sums" else "acc,none": right.tolist()}


def floors(task: str, columns: dict[str, list], n: int) -> dict[str, list]:
    """Means over five permutations; the trap's answers are as good for other documents."""
    rng = np.random.default_rng(n)
    made = {}
    for key, values in columns.items():
        means = np.array([np.mean(v) for v in values])
        share = means.mean() if task == "made_trap" else 0.03
        drawn = rng.binomial(5, share, n) / 5
        made[f"permuted:{key}"] = (
            [[float(d)] * len(v) for d, v in zip(drawn, values, strict=True)]
            if isinstance(values[0], list)
            else drawn.tolist()
        )
    return made


def responder(values: list, kind: str, n: int) -> list:
    """Outcomes of a trivial responder: a share of the documents, the same for every metric."""
    passed = np.random.default_rng(len(kind)).random(n) < (0 if kind == "floor-empty" else 0.12)
    if isinstance(values[0], list):
        return [[float(p)] * len(v) for p, v in zip(passed, values, strict=True)]
    return passed.astype(float).tolist()


def answers(task: str, step: float, n: int, columns: dict[str, list]) -> dict[str, list]:
    """Written answers that get shorter with the damage; some are empty, loop or never stop."""
    rng = np.random.default_rng([int(10 * step), n])
    lengths = np.maximum(0, rng.poisson(max(1.0, 12 - 1.5 * step), n))
    loops = rng.random(n) < min(0.05 * step, 0.9)
    text = ["la " * 20 if loop else " ".join(f"w{j}" for j in range(length))
            for length, loop in zip(lengths, loops, strict=True)]  # fmt: skip
    made = {
        "prompt_end": [f"<b>Prompt {i}</b> of {task}" for i in range(n)],
        "target": ["target"] * n, "response": text,
        "response_tokens": [20 if loop else int(k) for k, loop in zip(lengths, loops, strict=True)],
        "stopped": (~loops).tolist(),
    }  # fmt: skip
    if task == "made_instructions":
        parts = columns["inst_level_strict_acc,none"]
        made["instruction_ids"] = [["reverse", "commas", "quotes"][: len(part)] for part in parts]
    return made


def score(key: str, columns: dict[str, list]) -> float:
    if key.endswith("perplexity,none"):
        weights = columns["words" if key.startswith("word") else "bytes"]
        return float(np.exp(-np.sum(columns["loglikelihood"]) / np.sum(weights)))
    values = columns[key]
    return float(np.mean(np.concatenate(values) if isinstance(values[0], list) else values))


def write_evaluation(
    root: Path,
    selection: str,
    ratio: float,
    n: int = 300,
    *,
    tasks=TASKS,
    floor: bool = True,
    change_inputs=None,
    change_table=None,
) -> None:
    """Write `<run>/3_evaluation` with its samples, and `<run>/2_pruning`."""
    if selection.startswith("floor-") or selection == "dense-aa":
        run, width = f"{selection}/r0.00", 0.0
    elif selection == "noise":
        run, width = Selection("noise", 0, ratio).key, 0.0
    else:
        run, width = None, ratio
    seed = int(selection.removeprefix("random-s")) if selection.startswith("random") else 0
    criterion = "random" if selection.startswith("random") else selection
    run = run or Selection(criterion, seed, ratio).key
    step = 10 * ratio * (1.6 if criterion == "random" else 1) + (0.2 * seed if ratio else 0)
    keep = DENSE_WIDTH - int(width * DENSE_WIDTH)
    described = {
        "run": run,
        "criterion": criterion,
        "seed": seed,
        "pruning_ratio": 1 - keep / DENSE_WIDTH,
        "expansion_ratio": keep / HIDDEN,
        "intermediate_size": keep,
        "synthetic": True,
        "parameters": 200_000 + 4 * 3 * HIDDEN * keep,
    }
    if selection.startswith("floor-"):
        described["responder"] = selection.removeprefix("floor-")
    pruned = {
        **described,
        "requested": {"pruning_ratio": width},
        "intermediate_size_dense": DENSE_WIDTH,
        "parameter_reduction": 1 - described["parameters"] / (200_000 + 12 * HIDDEN * DENSE_WIDTH),
        "keep_sha256": "ab" * 32,
        "ties_at_cut": [0, 1],
    }
    rows, about, files = [], {}, []
    for task in tasks:
        name, columns = task["name"], outcomes(task["name"], min(step, 6.0), n)
        if selection.startswith("floor-"):
            columns = {key: responder(values, selection, n) for key, values in columns.items()}
        extra = floors(name, columns, n) if floor and name in GENERATED else {}
        written = answers(name, step, n, columns) if name in GENERATED else {}
        table = pd.DataFrame(
            {
                "doc_id": range(n),
                "doc_hash": [f"d{i}" for i in range(n)],
                "target_hash": [f"t{i}" for i in range(n)],
                **columns,
                **written,
                **extra,
            }
        )
        if change_table:
            table = change_table(name, table)
            columns |= {key: table[key].tolist() for key in columns if key in table}
            extra |= {key: table[key].tolist() for key in extra if key in table}
        path = root / "samples" / run / f"{name}.parquet"
        records.write_parquet(path, table)
        files.append(path)
        names = ["word_perplexity,none", "byte_perplexity,none"] if name == "made_text" else columns
        for key in names:
            metric, chance = key.split(",")[0], CHANCE.get(name)
            for source, used in (("model", columns), ("permuted", extra)):
                column = key if source == "model" else f"permuted:{key}"
                if source == "permuted" and column not in extra:
                    continue
                rows.append(
                    {
                        "task": name,
                        "metric": metric,
                        "filter": "none",
                        "value": score(column, used),
                        "stderr": None,
                        "n": n,
                        "num_fewshot": 0,
                        "version": 1,
                        "axis": task["axis"],
                        "headline": metric == task["metric"],
                        "source": source,
                        "chance": chance,
                        "higher_is_better": not metric.endswith("perplexity"),
                    }
                )
        about[name] = {
            "version": 1,
            "num_fewshot": 0,
            "n": n,
            "output_type": "made",
            "truncated": 0,
            "kind": "perplexity" if name == "made_text" else "accuracy",
            "first_prompt": f"The first prompt of {name}",
        }
    inputs = {
        "model": {"id": "made", "dtype": "float32"},
        "batch_size": 64,
        "add_bos_token": True,
        "settings": {"engine": "plain"},
        "tasks": {task["name"]: dict(task) for task in tasks},
        "run": run,
        "keep_sha256": run,
        **(change_inputs or {}),
    }
    if not run.startswith(("floor-", "dense-aa")):
        records.write(root, f"{run}/2_pruning", inputs={"run": run}, results=pruned)
    results = {**described, "rows": rows, "tasks": about}
    records.write(root, f"{run}/3_evaluation", inputs=inputs, results=results, files=files)


def write_profiling(root: Path, ratios) -> None:
    """Write `ppm/4_profiling`: time falls with the square root of the width."""
    widths, rows = [], []
    for ratio in ratios:
        keep = DENSE_WIDTH - int(ratio * DENSE_WIDTH)
        run = Selection("ppm", 0, ratio).key
        parameters = 200_000 + 1536 * keep
        widths.append(
            {
                "run": run,
                "pruning_ratio": ratio,
                "expansion_ratio": keep / HIDDEN,
                "intermediate_size": keep,
                "parameters": parameters,
                "weights_bytes": 4 * parameters,
                "requested": run.split("/")[1],
                "keep_multiple_of": 1,
            }
        )
        for batch in (1, 8):
            base = 0.004 * batch * (keep / DENSE_WIDTH) ** 0.5
            row = {"run": run, "batch_size": batch, "peak_memory_bytes": None, "repeats": {}}
            row |= {"workload": "fixed", "prompt_tokens": 64, "new_tokens": 16}
            row |= {"ttft_limit_s": base, "tpot_limit_s": base / 3, "mfu": 0.3, "mbu": 0.3}
            for name, scale in (("ttft_s", 3), ("tpot_s", 1), ("total_s", 18)):
                times = [base * scale * factor for factor in (0.97, 0.98, 1.0, 1.01, 1.04)]
                row["repeats"][name] = times
                row |= {name: times[2], f"{name}_q25": times[1], f"{name}_q75": times[3]}
            row["tokens_per_s"] = 16 * batch / row["total_s"]
            rows.append(row)
    work = {"name": "fixed", "prompt_tokens": 64, "new_tokens": 16, "batch_sizes": [1, 8]}
    results = {"device": "made", "random_weights": False, "workloads": [work], "widths": widths}
    measured = {"rows": rows, "conclusions": ["Made times, not measured."], "wall_s": 1.0}
    measured["joules"] = {"idle_w": [], "rows": []}
    measured |= {"peak_memory": "not measurable here", "energy": "not measurable here"}
    records.write(
        root, "ppm/4_profiling", inputs={"made": True}, results=results, measured=measured
    )


def write_study(root: Path, *, ratios=(0.1, 0.2, 0.3, 0.4, 0.5, 0.6), seeds=(0,), n=300, **options):
    """A whole made study: dense, ppm, random selections, and the profiling of ppm."""
    write_evaluation(root, "ppm", 0.0, n, **options)
    for ratio in ratios:
        write_evaluation(root, "ppm", ratio, n, **options)
        for seed in seeds:
            write_evaluation(root, f"random-s{seed}", ratio, n, **options)
    write_profiling(root, (0.0, *ratios))
    return root
