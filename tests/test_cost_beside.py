"""Published and measured time and joules: changes against each one's own dense model."""

import pytest

from ppmlib.published import side_by_side
from ppmlib.show import published_measured

DESCRIBED = [
    {"run": "dense/r0.00", "requested": "r0.00", "keep_multiple_of": 1},
    {"run": "ppm/r0.40", "requested": "r0.40", "keep_multiple_of": 1},
    {"run": "ppm/r0.40-m64", "requested": "r0.40", "keep_multiple_of": 64},
]


def row(run, workload, batch, seconds):
    return {"run": run, "workload": workload, "batch_size": batch, "total_s": seconds,
            "tpot_s": seconds / 100, "new_tokens": 150}  # fmt: skip


ROWS = [
    row(width["run"], workload, batch, 2.0 if "dense" in width["run"] else 1.5)
    for width in DESCRIBED
    for workload in ("ifeval", "fixed")
    for batch in (1, 8)
]


@pytest.mark.parametrize("model", ["shape:llama-3.2-1b", "meta-llama/Llama-3.2-3B"])
def test_only_the_papers_work_at_the_studys_own_widths_is_compared(model):
    table = side_by_side.compare_costs(model, ROWS, DESCRIBED)
    assert table[["workload", "batch_size", "pruning_ratio"]].to_numpy().tolist() == [
        ["ifeval", 1, 0.0], ["ifeval", 8, 0.0], ["ifeval", 1, 0.4], ["ifeval", 8, 0.4],
    ]  # fmt: skip
    narrow = table[table["pruning_ratio"] == 0.4]
    assert narrow["work_ms_ratio"].tolist() == [0.75, 0.75]
    assert (table.loc[table["pruning_ratio"] == 0, "ms_per_token_ratio"] == 1).all()


def test_published_answers_of_1b_took_longer_because_they_were_longer():
    table = side_by_side.compare_costs("shape:llama-3.2-1b", ROWS, DESCRIBED)
    alone = table[(table["batch_size"] == 1) & (table["pruning_ratio"] == 0.4)].iloc[0]
    assert alone["answer_ms_ratio"] > 1.5
    assert alone["ms_per_token_ratio"] == pytest.approx(1, abs=0.05)
    assert alone["tokens_per_answer_ratio"] > 1.5
    time, batch = published_measured.cost_sentences(table)
    assert time.endswith("here the same work takes 0.75 times the dense time.")
    assert batch.startswith("ifeval, dense, eight prompts at once: published 5.3 times")
    assert batch.endswith("here 8.0 times the tokens per second.")


def test_the_table_for_reading_has_a_dash_where_nothing_was_measured():
    read = published_measured.cost_table(
        side_by_side.compare_costs("shape:llama-3.2-1b", ROWS, DESCRIBED)
    )
    assert len(read) == 2
    assert (read["measured here", "J of the same work"] == "–").all()
    assert read["measured here", "time of the same work"].tolist() == ["-25.0%", "-25.0%"]


def test_measured_joules_stand_beside_published_ones():
    spent = [
        {"run": row["run"], "workload": row["workload"], "batch_size": row["batch_size"],
         "joules_per_generation": joules, "joules_per_generation_net": joules - 4}
        for row in ROWS
        for joules in [10 if "dense" in row["run"] else 8]
    ]  # fmt: skip
    table = side_by_side.compare_costs("shape:llama-3.2-1b", ROWS, DESCRIBED, spent)
    time, batch = published_measured.cost_sentences(table)
    assert time.endswith("0.75 times the dense time, 0.80 times the joules (0.67 above idle).")
    assert batch.endswith("8.0 times the tokens per second at 0.12 times the joules per token.")
    read = published_measured.cost_table(table)
    assert read["measured here", "above idle"].tolist() == ["-33.3%", "-33.3%"]


def test_other_models_have_no_published_side():
    assert side_by_side.compare_costs("bench", ROWS, DESCRIBED).empty
