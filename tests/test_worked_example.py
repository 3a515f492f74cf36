"""The worked example of notebook 5 counts documents of the example study; sentences follow."""

import re

import pandas as pd
import pytest
from scipy.stats import binomtest

from ppmlib.analyse import sources, verdicts, worked_example
from ppmlib.show import worked_example as steps

RUN = "ppm/r0.40"
KNOWLEDGE, TEXT = "bench_knowledge", "bench_text"


@pytest.fixture(scope="module")
def study():
    return sources.load(sources.example_dir())


@pytest.fixture(scope="module")
def judged(study):
    tasks = [KNOWLEDGE, "bench_tracking", TEXT]
    return verdicts.verdict_table(study, tasks, criterion="ppm", bootstrap_seed=0)


def test_the_documents_add_up_to_the_verdict(study, judged):
    example = worked_example.choose_example(study, judged, RUN)
    row, cells = example.verdict, example.documents
    assert (row["task"], row["run"]) == (KNOWLEDGE, RUN)
    columns = [study.samples(run, KNOWLEDGE)["acc_norm,none"] for run in ("dense/r0.00", RUN)]
    counted = pd.crosstab(*columns)
    assert cells == {(d, p): counted.loc[d, p] for d in (1, 0) for p in (1, 0)}
    assert (cells[0, 1], cells[1, 0]) == (row["gained"], row["lost"])
    assert sum(cells.values()) == row["n"]
    assert row["p_value"] == pytest.approx(binomtest(cells[0, 1], cells[0, 1] + cells[1, 0]).pvalue)
    table = steps.documents_table(example)
    assert table.loc["sum", "sum"] == row["n"]
    assert table.loc["dense right", "sum"] / row["n"] == pytest.approx(row["dense_value"])
    assert table.loc["sum", "pruned right"] / row["n"] == pytest.approx(row["value"])


def test_the_sentences_say_the_counts_and_the_verdict(study, judged):
    example = worked_example.choose_example(study, judged, RUN)
    text = "\n".join(steps.explain_steps(example))
    row, cells = example.verdict, example.documents
    assert f"{cells[1, 0]} are lost and {cells[0, 1]} gained" in text
    assert f"= {row['diff_points']:+.1f} points".replace("-", "−") in text
    assert f"**Verdict: {row['change']}**" in text and f"**{row['level']}**" in text
    assert not re.search(r"[{}]|nan|None", text)


def test_a_run_of_perplexities_alone_has_no_worked_example(study, judged):
    rows = judged[judged["task"] == TEXT]
    assert worked_example.choose_example(study, rows, RUN) is None
