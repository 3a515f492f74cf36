"""Widths compared with each other, round by round: speed-ups, alignment, break-even."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

QUANTITIES = {"ttft_s": "prefill", "tpot_s": "decode"}


def job(row: Mapping[str, Any]) -> tuple[str, int]:
    """Which work a row is about: workload and batch size, the same for every width."""
    return row["workload"], row["batch_size"]


def by_work(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The rows sorted by work, in the order in which works first appear; widths stay in theirs."""
    order = list(dict.fromkeys(job(row) for row in rows))
    return sorted(rows, key=lambda row: order.index(job(row)))


def job_name(row: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> str:
    """A row's work for readers: its batch size, and its workload where there are several."""
    batch = f"batch {row['batch_size']}"
    several = len({each["workload"] for each in rows}) > 1
    return f"{row['workload']}, {batch}" if several else batch


def _with_dense(rows: Sequence[Mapping[str, Any]], baseline: str) -> Iterator[tuple]:
    """Every narrower row with the baseline's of the same work, and what names it."""
    dense = {job(row): row for row in rows if row["run"] == baseline}
    for row in rows:
        if row["run"] != baseline:
            names = {name: row[name] for name in ("run", "workload", "batch_size")}
            yield row, dense[job(row)], names


def speed_ups(rows: Sequence[Mapping[str, Any]], baseline: str) -> list[dict[str, Any]]:
    """Speed of each width against the baseline run, round by round.

    Returns:
        one row per run (the baseline left out), workload, batch size and quantity: `speed_up`, the
        median over rounds of baseline seconds / seconds, its quartiles, `limit_speed_up`: the same
        of the least times, and `differs`: whether the interquartile ranges of the two times are
        apart and every round agrees on the direction.
    """
    return [
        {**names, "phase": phase, **_compare(base, row, name, "speed_up", "limit_speed_up")}
        for row, base, names in _with_dense(rows, baseline)
        for name, phase in QUANTITIES.items()
    ]


def alignment(
    rows: Sequence[Mapping[str, Any]], described: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """The same ratios at other multiples of the neuron count, against the study's own widths.

    Returns:
        per requested ratio, further multiple, workload, batch size and phase: `neurons` of the
        study's own width and `aligned_neurons`; `ratio`, the median over rounds of own seconds /
        aligned seconds (above 1: alignment pays), its quartiles; `limit_ratio`, what the fewer
        neurons alone would give; `differs` as in `speed_ups`; `same`, whether the two widths are
        one, so that they differ by noise alone. Empty if there are no further multiples.
    """
    about = {width["run"]: width for width in described}
    own = {
        (about[row["run"]]["requested"], *job(row)): row
        for row in rows
        if about[row["run"]]["keep_multiple_of"] == described[0]["keep_multiple_of"]
    }
    found = []
    for row in rows:
        width = about[row["run"]]
        base = own[width["requested"], *job(row)]
        if row["run"] == base["run"]:
            continue
        sizes = [about[each["run"]]["intermediate_size"] for each in (base, row)]
        found += [
            {
                "requested": width["requested"],
                "multiple": width["keep_multiple_of"],
                "workload": row["workload"],
                "batch_size": row["batch_size"],
                "phase": phase,
                "neurons": sizes[0],
                "aligned_neurons": sizes[1],
                **_compare(base, row, name, "ratio", "limit_ratio"),
                "same": sizes[0] == sizes[1],
            }
            for name, phase in QUANTITIES.items()
        ]
    return found


def break_even(rows: Sequence[Mapping[str, Any]], baseline: str) -> list[dict[str, Any]]:
    """How much longer a narrower model's answers may be before they take as long as the dense's.

    Of a prompt and an answer of the profiled length: `length_ratio`, the tokens the narrower model
    has made when the dense one is done, relative to the dense one's; median over rounds and
    quartiles. Per run (the baseline left out), workload and batch size.
    """
    found = []
    for row, dense, names in _with_dense(rows, baseline):
        base, tokens = dense["repeats"], row["new_tokens"]
        own = {name: np.array(row["repeats"][name]) for name in QUANTITIES}
        dense_s = np.array(base["ttft_s"]) + (tokens - 1) * np.array(base["tpot_s"])
        ratios = (1 + (dense_s - own["ttft_s"]) / own["tpot_s"]) / tokens
        found.append({**names, "new_tokens": tokens, **spread("length_ratio", ratios)})
    return found


def end_to_end_ratio(row: Mapping[str, Any]) -> float:
    """Seconds of a generation timed as a whole over the sum of its parts: median of the rounds."""
    return float(np.median(np.divide(row["repeats"]["end_to_end_s"], row["repeats"]["total_s"])))


def spread(name: str, values: Sequence[float]) -> dict[str, float]:
    """Median and quartiles, by name."""
    q25, median, q75 = np.percentile(values, [25, 50, 75]).tolist()
    return {name: median, f"{name}_q25": q25, f"{name}_q75": q75}


def _compare(base: Mapping, row: Mapping, name: str, ratio: str, limit_ratio: str) -> dict:
    """Base seconds over a row's, round by round, whether they differ; and that of least times."""
    ratios = np.divide(base["repeats"][name], row["repeats"][name])
    faster = row[f"{name}_q75"] < base[f"{name}_q25"] and ratios.min() > 1
    slower = row[f"{name}_q25"] > base[f"{name}_q75"] and ratios.max() < 1
    limit = f"{name.removesuffix('_s')}_limit_s"
    return {
        **spread(ratio, ratios),
        "differs": bool(faster or slower),
        limit_ratio: base[limit] / row[limit],
    }
