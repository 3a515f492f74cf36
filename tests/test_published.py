"""The published numbers: as in the sources, judged as computed by hand, never a missing value."""

import json
import math
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ppmlib import published as paper
from ppmlib.published import comparison, verdicts
from ppmlib.record import records
from ppmlib.show import published_claims as claim_tables
from ppmlib.show import published_sentences as sentences
from ppmlib.show import published_tables as tables

NOTEBOOK = Path(__file__).parents[1] / "notebooks" / "6_published.ipynb"


@pytest.fixture(scope="module")
def scores():
    return paper.scores()


@pytest.fixture(scope="module")
def judged():
    return verdicts.judge()


@pytest.fixture(scope="module")
def said(judged):
    return sentences.conclusions(judged)


def claim(judged, name):
    return judged.set_index("id").loc[name]


def reference(name: str) -> pd.DataFrame:
    folder = os.environ.get("PPMLIB_TEST_DATA")
    if not folder:
        pytest.skip("PPMLIB_TEST_DATA is not set")
    return pd.read_csv(Path(folder) / "reference" / f"{name}.csv")


def test_packaged_scores_equal_the_reference_tables():
    ours, theirs = paper.read("capability"), reference("paper_capability")
    assert len(ours) == len(theirs) == 352
    assert (ours["pruning_ratio"] * 100).round(6).tolist() == theirs["pruning_pct"].tolist()
    for column in ("model", "task", "metric", "value", "stderr", "paper_headline"):
        pd.testing.assert_series_equal(ours[column], theirs[column])
    pd.testing.assert_frame_equal(paper.read("floors"), reference("floors"))


def test_efficiency_rows_equal_the_reference_table():
    ours, theirs = paper.read("efficiency"), reference("paper_efficiency")
    theirs["pruning_ratio"] = theirs["pruning_pct"] / 100
    keys = ["model", "pruning_ratio", "workload", "metric", "aggregation"]
    both = ours.merge(theirs, on=keys, how="left", suffixes=("", "_reference"))
    assert len(both) == len(ours)
    assert both["mean"].tolist() == both["mean_reference"].tolist()


def test_standard_errors_are_published_or_binomial_and_say_so(scores):
    row = comparison.only_row(
        scores, model="1B", task="ifeval", pruning_ratio=0.0, metric="prompt_level_strict_acc,none"
    )
    assert (row["se"], row["se_source"]) == (0.0131, "published")
    row = comparison.only_row(scores, model="3B", task="mmlu", pruning_ratio=0.6, metric="acc,none")
    assert row["se"] == pytest.approx(math.sqrt(0.2589 * 0.7411 / 14042))
    assert row["se_source"] == "binomial" and not row["n_verified"]
    assert set(scores.loc[scores["task"] == "truthfulqa_mc2", "se_source"]) == {
        "binomial, upper bound"
    }
    untested = scores[scores["se"].isna()]
    assert set(untested["se_source"]) == {"none"}
    assert set(untested["task"]) == {"wikitext", "lambada_openai", "ifeval"}


def test_a_comparison_by_hand():
    found = comparison.compare(0.1035, 0.0131, 0.1516, 0.0154)
    se = math.sqrt(0.0131**2 + 0.0154**2)
    assert found.z == pytest.approx(0.0481 / se)
    assert found.low == pytest.approx(0.0481 - 1.959964 * se, abs=1e-7)
    assert found.detectable == pytest.approx((1.959964 + 0.841621) * se, abs=1e-7)
    assert found.p_value == pytest.approx(0.01736, abs=1e-5)


@pytest.mark.parametrize("errors", [(0.0, 0.0), (-0.1, 0.2), (math.nan, 0.1)])
def test_a_comparison_without_errors_is_refused(errors):
    with pytest.raises(ValueError, match="comparison needs"):
        comparison.compare(0.1, errors[0], 0.2, errors[1])


def test_the_detectable_size_has_eighty_percent_power():
    size = comparison.compare(0.0, 0.02, 0.0, 0.02).detectable
    rng = np.random.default_rng(0)
    first, second = rng.normal(0, 0.02, 20000), rng.normal(size, 0.02, 20000)
    shown = np.abs(second - first) / math.hypot(0.02, 0.02) > 1.959964
    assert shown.mean() == pytest.approx(0.80, abs=0.01)


def test_an_unknown_published_row_is_an_error(scores):
    with pytest.raises(ValueError, match="0 published rows"):
        comparison.only_row(scores, model="7B")


@pytest.mark.parametrize(
    "model,expected",
    [
        ("1B", [1.95, 1.23, 3.67, 2.38, 2.46, 1.68]),
        ("3B", [1.92, 1.46, 2.96, 3.45, 3.37, 2.01]),
        ("1B-Instruct", [-5.2, -8.49, -8.93]),
    ],
)
def test_ifeval_z_values_of_all_widths(scores, model, expected):
    changes = comparison.changes(scores).query("task == 'ifeval' and model == @model")
    assert changes["z"].tolist() == pytest.approx(expected, abs=0.006)


def test_musr_rises_beyond_error_at_two_of_twelve_widths(scores):
    changes = comparison.changes(scores).query("task == 'leaderboard_musr'")
    base = changes[changes["model"] != "1B-Instruct"]
    beyond = base[base["z"] > 1.96]
    assert len(base) == 12
    assert beyond[["model", "pruning_ratio"]].values.tolist() == [["1B", 0.4], ["1B", 0.6]]


def test_what_mmlu_keeps_above_chance(scores):
    kept = comparison.retention(scores, paper.floors()).query("task == 'mmlu'")
    kept = kept.set_index(["model", "pruning_ratio"])["kept_above_floor"]
    assert kept[("1B", 0.4)] == pytest.approx(0.31, abs=0.005)
    assert kept[("1B", 0.1)] == pytest.approx(0.02, abs=0.005)
    assert kept[("3B", 0.1)] == pytest.approx(0.59, abs=0.005)


def test_no_share_is_given_of_what_may_be_zero(scores):
    kept = comparison.retention(scores, paper.floors()).set_index(["task", "model"])
    for key in (("leaderboard_musr", "1B"), ("ifeval", "1B"), ("truthfulqa_mc2", "3B")):
        assert kept.loc[key, "kept_above_floor"].isna().all()
    assert comparison.fieller(0.0, 0.01, 0.1, 0.01) is None


def test_fieller_covers_the_ratio():
    rng, hits = np.random.default_rng(0), 0
    for first, second in zip(rng.normal(1, 0.25, 2000), rng.normal(0.4, 0.2, 2000), strict=True):
        found = comparison.fieller(first, 0.25, second, 0.2)
        hits += found is None or found[1] <= 0.4 <= found[2]
    assert 0.94 <= hits / 2000 <= 0.965


def test_the_published_correlations_with_and_without_the_dense_model(scores):
    table = comparison.correlations(scores).query("of == 'MMLU and MC2'")
    table = table.set_index(["scope", "dense_point"])
    assert table["r"][("1B", True)] == pytest.approx(-0.676, abs=5e-4)
    assert table["r"][("3B", True)] == pytest.approx(-0.864, abs=5e-4)
    assert table["r"][("pooled", True)] == pytest.approx(-0.627, abs=5e-4)
    assert table["p_t"][("1B", True)] == pytest.approx(0.096, abs=5e-4)
    assert table["p_t"][("3B", True)] == pytest.approx(0.012, abs=5e-4)
    assert table["r"][("1B", False)] == pytest.approx(-0.018, abs=5e-4)
    assert table["rho"][("1B", True)] == pytest.approx(-0.357, abs=1e-3)
    assert table["rho"][("3B", True)] == pytest.approx(-0.607, abs=1e-3)


def test_permutation_p_values_are_scipys_and_keep_groups_apart():
    from scipy import stats

    rng = np.random.default_rng(1)
    x, y = rng.normal(size=6), rng.normal(size=6)
    exact = stats.permutation_test(
        (y,), lambda v: abs(stats.pearsonr(x, v).statistic), permutation_type="pairings",
        n_resamples=np.inf, alternative="greater",
    )  # fmt: skip
    assert comparison.permutation_p(x, y, ["a"] * 6) == pytest.approx(exact.pvalue)
    shifted = np.r_[x, x + 100], np.r_[y, y + 100]
    assert comparison.correlation(*shifted, ["a"] * 6 + ["b"] * 6)["r"] > 0.99
    within = comparison.correlation(*shifted, ["a"] * 6 + ["b"] * 6)["r_within"]
    assert within == pytest.approx(stats.pearsonr(x, y).statistic)


def test_stored_standard_errors_bear_out_the_numbers_of_documents(scores):
    table = comparison.stored_errors_agree(scores).set_index("task")
    assert table.loc["ifeval", "min"].min() > 0.995 and table.loc["ifeval", "max"].max() < 1.005
    assert table.loc["gsm8k", "min"].min() > 0.98 and table.loc["gsm8k", "max"].max() < 1.02


def test_every_published_figure_follows_from_the_published_table(judged):
    given = judged[judged["published"].notna()]
    assert len(given) == 21
    assert verdicts.reproduced(given).all()


def test_holm_runs_over_all_tested_claims_and_again_over_those_v3_keeps(judged):
    from statsmodels.stats.multitest import multipletests

    tested = judged[judged["p_value"].notna()]
    assert len(tested) == 16
    expected = multipletests(tested["p_value"], method="holm")[1]
    assert tested["p_holm"].tolist() == pytest.approx(expected.tolist())
    kept = judged[judged["v3"] == "restated"]
    assert kept["version"].tolist() == ["V1 and V3"] * 2
    assert kept["p_holm_v3"].tolist() == pytest.approx([2 * 0.017357, 0.054743], abs=1e-5)


@pytest.mark.parametrize(
    "name,verdict",
    [
        ("ifeval-1b-2.4x", "rise not shown; shown if V3's claims are the only ones"),
        ("ifeval-3b-2.4x", "rise not shown"),
        ("ifeval-1b-2.8x", "rise shown, between two floors"),
        ("ifeval-3b-1.6x", "rise shown, not above the floor"),
        ("musr-1b-2.4x", "rise shown, above the floor"),
        ("mc2-1b-1.6x", "rise shown, not above the floor"),
        ("mmlu-1b-1.6x", "fall shown, down to the floor"),
        ("gsm8k-1b-2.4x", "fall shown, no floor measured"),
        ("instruct-2.4x", "fall shown, down to the floor"),
        ("pearson-1b", "correlation not shown"),
        ("monotonic-mmlu-3b", "contradicted by its own table, beyond error"),
        ("monotonic-mc2-3b", "contradicted by its own table, within error"),
        ("monotonic-mc2-1b", "holds in its table"),
        ("latency-2.4x", "longer answers, not slower"),
        ("batching-2.4x", "not a gain of pruning"),
        ("specific", "not tested"),
        ("equilibrium", "quoted, not tested"),
    ],
)
def test_verdicts(judged, name, verdict):
    assert claim(judged, name)["verdict"] == verdict


def test_the_level_of_tests_changes_the_verdicts():
    strict = verdicts.judge(alpha=1e-6)
    assert claim(strict, "musr-1b-2.4x")["verdict"] == "rise not shown"


def test_withdrawn_claims_are_said_to_be(judged):
    shown = claim_tables.given_table(judged)["in V3"]
    assert shown["Robust inverse correlation of MMLU and MC2 in 3B"].startswith("withdrawn")
    assert shown["IFEval rises by 46.5% in 1B at 2.4x"] == "kept in V3's abstract"


def test_conclusions_credit_the_author_and_never_read_not_shown_as_no_effect(said):
    text = " ".join(said)
    assert "author himself reports" in text and "does not replicate" in text
    assert "no effect" not in text and "equilibrium" not in text
    assert "A rise that is not shown may still exist" in text


def test_conclusions_hold_the_numbers_of_their_tables(said):
    text = " ".join(said)
    for number in ("-0.018", "0.1442", "0.2495", "86.4%", "31% [19%, 44%]", "z +2.25"):
        assert number in text, number


def test_no_table_holds_a_missing_value(scores, judged):
    floors = paper.floors()
    shown = [
        tables.sources(scores, floors), tables.stored_errors(scores), tables.changes_grid(scores),
        tables.levels_grid(comparison.levels(scores, floors)), tables.responders(),
        tables.ifeval_metrics(scores), tables.gsm8k_metrics(scores, judged),
        tables.correlations(comparison.correlations(scores)), tables.costs(),
        tables.steps(comparison.monotonicity(scores)),
        claim_tables.tested_table(judged), claim_tables.floors_table(judged),
        claim_tables.others_table(judged), claim_tables.given_table(judged),
    ]  # fmt: skip
    for table in shown:
        assert not table.isna().any().any(), table
        assert not table.astype(str).isin(["nan", "NaN", "None"]).any().any(), table
    json.dumps(claim_tables.judged_plain(judged), allow_nan=False)


def test_costs_are_taken_apart():
    cost = comparison.cost()
    assert cost["unit_factor"].round(6).nunique() == 1
    longer = cost.loc[0.6, "tokens_per_answer"] / cost.loc[0.0, "tokens_per_answer"]
    assert longer == pytest.approx(1.176, abs=1e-3)


def test_the_notebook_leaves_a_record_with_its_figures(tmp_path, monkeypatch):
    """Its cells one after the other; test_notebooks runs it in a kernel of its own."""
    import nbformat

    monkeypatch.chdir(tmp_path)
    names: dict = {"__name__": "notebook"}
    for cell in nbformat.read(NOTEBOOK, as_version=4).cells:
        if cell.cell_type == "code":
            exec(compile(cell.source, cell.id, "exec"), names)
    pd.reset_option("display.max_colwidth")
    record = records.read(tmp_path / "ppm-out", "6_published")
    assert record["results"]["main_figure"] == "published/ifeval"
    assert len(record["results"]["figures"]) == 4 and len(record["files"]) == 12
    text = (tmp_path / "ppm-out" / "records" / "6_published.json").read_text()
    assert str(tmp_path) not in text and str(Path.home()) not in text
