"""From records to tables, verdicts and sentences, on made-up records (see made_records.py)."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import made_records as made
import numpy as np
import pandas as pd
import pytest

from ppmlib.analyse import (
    contrasts,
    levels,
    noise_floor,
    outcomes,
    responses,
    sources,
    verdicts,
)
from ppmlib.record import records
from ppmlib.record.records import RecordError
from ppmlib.show import conclusions, limits, planted, scorecard, verdict_tables, wording
from ppmlib.show.figures import abilities, changes
from ppmlib.show.time_saved import draw_savings
from ppmlib.statistics import multiplicity, paired

NAMES = [task["name"] for task in made.TASKS]
RATIOS = (0.2, 0.4, 0.6)
CLAIMS = [
    {"task": "made_knowledge", "pruning_ratio": 0.4, "direction": "worse", "margin_points": 0},
    {"task": "made_knowledge", "pruning_ratio": 0.6, "direction": "better", "margin_points": 0},
    {
        "task": "made_tracking",
        "pruning_ratio": 0.4,
        "direction": "equivalent",
        "margin_points": 8.0,
    },
    {"task": "made_text", "pruning_ratio": 0.4, "direction": "worse", "margin_points": 20},
    {"task": "made_text", "pruning_ratio": 0.5, "direction": "worse", "margin_points": 0},
]
TRUTHS = {
    task: SimpleNamespace(metric="acc", expected=expected, declared="said before")
    for task, expected in made.PLANTED.items()
}


def judge(study, claims=CLAIMS, tasks=NAMES):
    return verdicts.verdict_table(study, tasks, claims, criterion="ppm", bootstrap_seed=0)


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    return made.write_study(tmp_path_factory.mktemp("study"), ratios=RATIOS, n=200)


@pytest.fixture(scope="module")
def study(root):
    return sources.load(root)


@pytest.fixture(scope="module")
def judged(study):
    return judge(study)


def cell(table, run, task, metric=None):
    rows = table[(table["run"] == run) & (table["task"] == task)]
    rows = rows[rows["headline"]] if metric is None else rows[rows["metric"] == metric]
    assert len(rows) == 1
    return rows.iloc[0]


def two_widths(tmp_path, **options):
    made.write_evaluation(tmp_path, "ppm", 0.0, 40)
    made.write_evaluation(tmp_path, "ppm", 0.4, 40, **options)
    return tmp_path


def test_verdict_of_a_choice_task_is_the_paired_test_of_its_documents(study, judged):
    dense, pruned = (study.samples(r, "made_knowledge") for r in (sources.DENSE, "ppm/r0.60"))
    expected = paired.compare_binary(dense["acc_norm,none"], pruned["acc_norm,none"])
    row = cell(judged, "ppm/r0.60", "made_knowledge")
    assert row["diff_points"] == pytest.approx(100 * expected.difference)
    assert row["ci_high_points"] == pytest.approx(100 * expected.high)
    assert row["p_value"] == expected.p_value
    assert (row["change"], row["level"]) == ("worse", "above floor")
    assert row["pruning_ratio"] == 0.6 and row["expansion_ratio"] == 205 / 128


def test_perplexity_is_a_percent_change_of_the_ratio_over_words(study, judged):
    row = cell(judged, "ppm/r0.40", "made_text")
    assert row["unit"] == "percent" and row["change"] == "worse"
    assert row["diff_points"] == pytest.approx(100 * (row["value"] / row["dense_value"] - 1))
    assert row["ci_low_points"] < row["diff_points"] < row["ci_high_points"]
    assert row["level"] == "no floor"


def test_lists_of_outcomes_are_a_ratio_clustered_by_document(judged):
    row = cell(judged, "ppm/r0.60", "made_instructions", "inst_level_strict_acc")
    assert row["diff_points"] == pytest.approx(100 * (row["value"] - row["dense_value"]))
    assert np.isnan(row["p_adjusted"]) and row["units"] == 200


def test_headlines_of_a_selection_are_one_family(judged):
    mine = verdicts.headlines(judged, "ppm")
    assert len(mine) == len(NAMES) * len(RATIOS)
    assert mine["p_adjusted"].to_numpy() == pytest.approx(
        multiplicity.benjamini_hochberg(mine["p_value"])
    )
    assert judged[judged["selection"] == "random-s0"]["headline"].all()


def test_levels_stand_against_chance_or_permuted_answers(judged):
    sums = cell(judged, "ppm/r0.20", "made_sums")
    assert sums["floor_kind"] == "permuted responses"
    assert sums["own_minus_floor_points"] == pytest.approx(100 * (sums["value"] - sums["floor"]))
    null = cell(judged, "ppm/r0.20", "made_null")
    assert (null["floor_kind"], null["floor"], null["level"]) == ("chance", 0.5, "not above floor")


def test_claims_are_tested_as_declared_with_holm_over_all(study):
    table = verdicts.claims_table(study, CLAIMS, criterion="ppm", seed=0)
    assert list(table["holds"]) == [True, False, True, True, None]
    tested = table[table["holds"].notna()]
    assert list(tested["p_holm"]) == pytest.approx(
        list(multiplicity.holm(tested["p_value"].astype(float)))
    )
    sentences = [conclusions.claim_sentence(row) for row in table.to_dict("records")]
    assert "The claim holds" in sentences[0] and "the opposite sign" in sentences[1]
    assert "90% interval" in sentences[2] and "perplexity" in sentences[3]
    assert "Not tested: was not evaluated" in sentences[4]
    assert verdicts.claims_table(study, [], criterion="ppm", seed=0).empty


@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.parametrize("margin", [100.0, 150.0])
def test_no_perplexity_falls_by_all_of_itself(study, margin):
    claims = [
        {"task": "made_text", "pruning_ratio": 0.4, "direction": word, "margin_points": margin}
        for word in ("better", "equivalent", "worse")
    ]
    table = verdicts.claims_table(study, claims, criterion="ppm", seed=0)
    assert 0 < table["diff_points"].iloc[0] < 90
    assert list(table["holds"]) == [False, True, False] and table["p_value"].iloc[0] == 1


def test_planted_truths_are_judged_by_numbers(study, judged):
    table = planted.planted_table(verdicts.judge_planted(study, judged, TRUTHS, "ppm"))
    assert list(table["held"]) == [True, True, True]
    wrong = {"made_fall": "null", "made_null": "fall", "made_nowhere": "trap"}
    swapped = {
        task: SimpleNamespace(metric="acc", expected=expected, declared="wrong")
        for task, expected in wrong.items()
    }
    table = planted.planted_table(verdicts.judge_planted(study, judged, swapped, "ppm"))
    assert list(table["held"]) == [False, False, False]
    assert "NOT found as declared" in planted.describe_planted(table)[0]


def test_a_trap_that_reads_its_prompt_is_not_called_unmasked(study, judged):
    honest = judged.assign(task=judged["task"].replace({"made_sums": "made_trap2"}),
                           metric=judged["metric"].replace("exact_match", "acc"))  # fmt: skip
    truth = {"made_trap2": SimpleNamespace(metric="acc", expected="trap", declared="")}
    assert not any(t.held for t in verdicts.judge_planted(study, honest, truth, "ppm"))


def test_the_bench_tasks_declare_truths_that_can_be_judged():
    from ppmlib.bench.planted import PLANTED

    asked = [{"name": "bench_knowledge"}, {"name": "bench_null"}]
    assert list(verdicts.bench_truths(asked)) == ["bench_null"]
    assert verdicts.bench_truths([{"name": name} for name in PLANTED]) == PLANTED
    for truth in PLANTED.values():
        assert truth.expected in verdicts.HELD and truth.expected in planted.DESCRIBED
        assert truth.metric and truth.declared


def test_few_random_seeds_give_a_range_and_no_p_value(study, judged):
    table = contrasts.controls_table(study, judged, criterion="ppm", seed=0)
    assert set(table["control"]) == {"random"} and "p_value" not in table
    sentence = conclusions.control_sentences(table, "ppm")[0]
    assert "not a test" in sentence and "1 seed" in sentence


def test_five_random_seeds_and_fixed_selections_are_tested(tmp_path):
    tasks = made.TASKS[:1]
    for selection, ratio in [("ppm", 0.0), ("ppm", 0.4), ("l2", 0.4)]:
        made.write_evaluation(tmp_path, selection, ratio, 100, tasks=tasks)
    for seed in range(5):
        made.write_evaluation(tmp_path, f"random-s{seed}", 0.4, 100, tasks=tasks)
    study = sources.load(tmp_path)
    table = contrasts.controls_table(study, judge(study), criterion="ppm", seed=0)
    table = table.set_index("control")
    assert table.loc["random", "seeds"] == 5
    row = table.loc["random"]
    assert row["lead_low"] <= row["lead"] <= row["lead_high"] and row["p_value"] < 0.05
    assert table.loc["l2", "lead"] == pytest.approx(0, abs=5) and table.loc["l2", "p_value"] <= 1


def test_the_dichotomy_is_a_difference_of_axis_changes(study, judged):
    axes = contrasts.axis_changes(study, judged, criterion="ppm", seed=0)
    assert "planted" not in set(axes["axis"]) and "language" not in set(axes["axis"])
    assert "made_knowledge" in set(axes["label"])
    table = contrasts.dichotomy_table(study, judged, criterion="ppm", seed=0)
    last = table.iloc[-1]
    gap = cell(judged, last["run"], "made_instructions")["diff_points"]
    gap -= cell(judged, last["run"], "made_knowledge")["diff_points"]
    assert last["difference_points"] == pytest.approx(gap)
    assert last["low"] < gap < last["high"]
    assert (table["p_holm"] >= table["p_value"]).all()
    assert conclusions.dichotomy_sentence(table, judged, "ppm").startswith("Dichotomy: yes")


def test_a_dichotomy_only_in_points_is_not_established(study, judged):
    table = contrasts.dichotomy_table(study, judged, criterion="ppm", seed=0)
    table = table.assign(log_odds=-0.5, log_odds_low=-1.0, log_odds_high=-0.1)
    assert "not established" in conclusions.dichotomy_sentence(table, judged, "ppm")
    mirrored = table.assign(difference_points=-table["difference_points"])
    assert "the other way round" in conclusions.dichotomy_sentence(mirrored, judged, "ppm")


def test_without_an_instruction_task_the_dichotomy_cannot_be_tested(study, judged):
    rest = judged[judged["axis"] != "instruction"]
    table = contrasts.dichotomy_table(study, rest, criterion="ppm", seed=0)
    assert table.empty
    assert "cannot be tested" in conclusions.dichotomy_sentence(table, rest, "ppm")


def test_an_axis_of_two_tasks_is_their_mean(study, judged):
    both = judged.assign(axis=judged["axis"].replace({"mathematics": "knowledge"}))
    axes = contrasts.axis_changes(study, both, criterion="ppm", seed=0)
    row = axes[(axes["axis"] == "knowledge") & (axes["run"] == "ppm/r0.40")].iloc[0]
    parts = [cell(judged, "ppm/r0.40", t)["diff_points"] for t in ("made_knowledge", "made_sums")]
    assert row["label"] == "knowledge (2 tasks)"
    assert row["change_points"] == pytest.approx(np.mean(parts))


def trade(table, margin: float = 3.0) -> dict:
    return contrasts.trade_off(table, criterion="ppm", margin_points=margin)


def test_the_trade_off_is_the_largest_width_whose_loss_is_within_the_margin(judged):
    lows = [cell(judged, f"ppm/r{r:.2f}", "made_knowledge")["low90_points"] for r in RATIOS]
    assert lows == sorted(lows, reverse=True) and lows[0] > -10 > lows[1]
    assert trade(judged, 10)["ratio"] == 0.2
    assert trade(judged, -lows[1] + 0.01)["ratio"] == 0.4
    found = trade(judged.assign(low90_points=-50.0))
    assert found["ratio"] is None
    assert "none" in conclusions.trade_off_sentence(found)
    assert trade(judged.assign(low90_points=-1.0))["ratio"] == 0.6


def test_the_trade_off_needs_every_knowledge_task_and_has_a_margin_of_its_own(judged):
    both = judged.assign(low90_points=-4.0, margin_points=100.0)
    both.loc[both["task"] == "made_sums", "axis"] = "knowledge"
    assert trade(both)["ratio"] is None and trade(both, 5)["ratio"] == 0.6
    lacking = both[(both["task"] != "made_sums") | (both["pruning_ratio"] != 0.4)]
    assert trade(lacking, 5)["ratio"] == 0.2
    assert "beyond 5 points" in conclusions.trade_off_sentence(trade(both, 5))


def test_a_margin_holds_for_the_task_and_the_ratio_of_its_claim(study):
    claims = [
        {"task": "made_tracking", "pruning_ratio": ratio, "direction": direction,
         "margin_points": margin}
        for ratio, direction, margin in (
            (0.2, "equivalent", 30.0), (0.4, "equivalent", 9.0), (0.4, "equivalent", 8.0),
            (0.4, "worse", 1.0),
        )
    ]  # fmt: skip
    table = judge(study, claims)
    found = {r: cell(table, f"ppm/r{r:.2f}", "made_tracking")["margin_points"] for r in RATIOS}
    assert found == {0.2: 30.0, 0.4: 8.0, 0.6: 3.0}
    assert cell(table, "ppm/r0.20", "made_knowledge")["margin_points"] == 3.0
    tested = verdicts.claims_table(study, claims, criterion="ppm", seed=0)
    assert list(tested["margin_points"]) == [30.0, 9.0, 8.0, 1.0]
    sentence = conclusions.task_sentence(table, "made_tracking", "ppm")
    assert "within 30 points at 20%" in sentence and "within 8 points at 40%" in sentence


def test_notebooks_3_and_5_judge_every_level_alike(tmp_path):
    """Documents in clusters; a task whose documents hold several answers each."""
    tasks = [
        task | {"metric": "inst_level_strict_acc"} if "inst" in task["name"] else task
        for task in made.TASKS
    ]
    for ratio in (0.0, 0.4):
        made.write_evaluation(
            tmp_path, "ppm", ratio, 120, tasks=tasks,
            change_table=lambda _, table: table.assign(cluster=table["doc_id"] // 8),
        )  # fmt: skip
    study, run = sources.load(tmp_path), "ppm/r0.40"
    rows = pd.DataFrame(study.evaluations[run]["results"]["rows"])
    samples = {name: study.samples(run, name) for name in NAMES}
    table = scorecard.headlines(rows, samples)
    for name in NAMES:
        card, row = table.loc[name], cell(judge(study, [], NAMES), run, name)
        if card["floor"] == "chance":
            ends = 100 * (np.array([card["low"], card["high"]]) - card["chance"])
            assert ends == pytest.approx([row["own_minus_floor_low"], row["own_minus_floor_high"]])
        assert card["low"] <= card["value"] <= card["high"]
        assert row["level"].startswith(card["level"])


def score_row(value: float, **more) -> dict:
    return {
        "task": "t", "metric": "acc", "filter": "none", "value": value, "stderr": None, "n": 100,
        "chance": None, "source": "model", "axis": "toy", "headline": True, "num_fewshot": 0,
        "higher_is_better": True, **more,
    }  # fmt: skip


def level_of(table: pd.DataFrame, **row) -> pd.Series:
    return scorecard.headlines(pd.DataFrame([score_row(**row)]), {"t": table}).loc["t"]


def test_the_interval_of_a_score_of_several_answers_a_document_is_around_that_score():
    parts = [[0.0]] * 50 + [[1.0] * 9] * 50
    table = pd.DataFrame({"acc,none": parts, "permuted:acc,none": [[0.5] * len(p) for p in parts]})
    found = level_of(table, value=0.9)
    assert found["low"] < 0.9 < found["high"]
    assert found["level"] == "above floor"  # the mean over documents would be the floor's


def test_documents_of_one_cluster_count_as_one_for_a_level():
    right = np.repeat([1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0], 10)
    table = pd.DataFrame({"acc,none": right})
    assert level_of(table, value=0.6, chance=0.5)["level"].startswith("above")
    clustered = table.assign(cluster=np.repeat(np.arange(10), 10))
    assert level_of(clustered, value=0.6, chance=0.5)["level"].startswith("not above")


def test_texts_in_a_template_and_a_missing_bos_are_limits(tmp_path):
    two_widths(tmp_path)
    study = sources.load(tmp_path)
    for record in study.evaluations.values():
        record["inputs"]["tasks"]["made_text"]["apply_chat_template"] = True
        record["inputs"]["tasks"]["made_sums"]["apply_chat_template"] = True
        about = record["results"]["tasks"]
        about["made_text"]["output_type"] = "loglikelihood_rolling"
        about["made_sums"]["output_type"] = "generate_until"
        about["made_knowledge"]["bos_warning"] = "prompts start with 2 BOS tokens"
    found = limits.sentences(study, judge(study, []), criterion="ppm", draft=False)
    (wrapped,) = [sentence for sentence in found if "chat template" in sentence]
    assert wrapped.startswith("made_text scored inside a chat template")
    assert "made_knowledge: prompts start with 2 BOS tokens." in found


@pytest.mark.parametrize(("own", "again", "said"), [
    (None, 4, set()), (2, 4, {"smaller"}), (16, 4, {"larger"}), (None, 8, {"same"}),
])  # fmt: skip
def test_batches_are_said_to_be_what_the_records_have(tmp_path, own, again, said):
    for run, ratio, size in (("ppm", 0.0, 8), ("ppm", 0.4, 8), ("dense-aa", 0.0, again)):
        how = {"settings": {"engine": "plain", "batch_size": size}}
        made.write_evaluation(tmp_path, run, ratio, 40, tasks=made.TASKS[:2], change_inputs=how)
    study = sources.load(tmp_path)
    if own:
        for record in study.evaluations.values():
            record["results"]["tasks"]["made_sums"]["batch_size"] = own
    found = " ".join(limits.sentences(study, judge(study, []), criterion="ppm", draft=False))
    words = {
        "smaller": "In smaller batches than the other tasks, at every width: made_sums (2).",
        "larger": "In larger batches than the other tasks, at every width: made_sums (16).",
        "same": "The A/A repeat had the same batch size as the dense run on made_knowledge and ",
    }
    assert {name for name, text in words.items() if text in found} >= said
    assert ("smaller batches" in found, "larger batches" in found) == (own == 2, own == 16)
    assert ("same batch size" in found) == (own is not None or again == 8)


def test_documents_without_a_cluster_stand_alone():
    table = pd.DataFrame({"doc_id": range(40), "acc,none": [1.0, 0.0] * 20})
    table["cluster"] = [f"c{i // 2}" if i < 20 else None for i in range(40)]
    row = {"task": "t", "metric": "acc", "filter": "none", "value": 0.5, "chance": None}
    clusters = outcomes.outcome_of(table, row).clusters
    assert len(set(clusters)) == 10 + 20 and list(clusters[:3]) == ["c0", "c0", "c1"]


@pytest.mark.parametrize("factor", [47.0, -1.0])
def test_scores_that_are_no_shares_are_neither_judged_nor_shown_as_percent(tmp_path, factor):
    def scaled(name, table):
        if name != "made_sums":
            return table
        return table.assign(**{"exact_match,none": factor * table["exact_match,none"]})

    for run, ratio in (("ppm", 0.0), ("ppm", 0.4), ("dense-aa", 0.0), ("floor-echo", 0.0)):
        made.write_evaluation(
            tmp_path, run, ratio, 40, tasks=made.TASKS[:2], change_table=scaled,
            floor=run != "floor-echo",
        )  # fmt: skip
    study = sources.load(tmp_path)
    table = judge(study, [])
    assert set(table["task"]) == {"made_knowledge"}
    assert "made_sums exact_match has scores below 0 or above 1: not tested" in study.missing[-1]
    assert set(noise_floor.flips(study)["task"]) == {"made_knowledge"}
    assert responses.response_table(study, NAMES, criterion="ppm").empty
    rows = pd.DataFrame(study.rows(sources.DENSE))
    samples = {name: study.samples(sources.DENSE, name) for name in NAMES[:2]}
    shown = scorecard.shown_table(scorecard.headlines(rows, samples)).loc["made_sums"]
    assert "%" not in " ".join(map(str, shown)) and shown["level"] == "-"


def test_a_score_that_is_no_mean_of_its_documents_has_neither_interval_nor_level():
    table = pd.DataFrame({"acc,none": np.tile([0.0, 1.0], 50)})
    for lacking, value in ((table, 0.8), (table[:1], 0.0), (table.assign(cluster=1), 0.5)):
        found = level_of(lacking, value=value, chance=0.25)
        assert pd.isna(found["low"]) and found["level"] == "no floor"


@pytest.mark.parametrize(
    "change,named",
    [
        ({"batch_size": 32}, "batch_size is 64 and 32"),
        ({"add_bos_token": False}, "add_bos_token is True and False"),
        ({"model": {"id": "made", "dtype": "bfloat16"}}, "model.dtype is 'float32' and 'bfloat16'"),
        ({"new_setting": 1}, "new_setting is None and 1"),
    ],
)
def test_unlike_inputs_are_refused_naming_the_field(tmp_path, change, named):
    two_widths(tmp_path, change_inputs=change)
    with pytest.raises(RecordError, match=named):
        sources.load(tmp_path)


@pytest.mark.parametrize("column", ["doc_hash", "target_hash"])
def test_unlike_documents_are_refused_naming_task_and_document(tmp_path, column):
    def other(task, table):
        return table.assign(**{column: ["x", *table[column][1:]]}) if task == "made_sums" else table

    two_widths(tmp_path, change_table=other)
    with pytest.raises(RecordError, match=f"made_sums, document 0: {column}"):
        sources.load(tmp_path)


def test_missing_widths_tasks_and_values_are_listed(tmp_path):
    def without(task, table):
        return table.drop(columns="acc,none") if task == "made_fall" else table

    two_widths(tmp_path, change_table=without, tasks=made.TASKS[1:])
    records.write(tmp_path, "ppm/r0.60/2_pruning", inputs={}, results={})
    study = sources.load(tmp_path)
    judge(study, tasks=[*NAMES, "made_nowhere"])
    text = "; ".join(study.missing)
    assert "ppm/r0.60: pruned but not evaluated" in text
    assert "ppm/r0.40: task made_knowledge was not evaluated" in text
    assert "made_fall acc has no per-document values" in text
    assert "task made_nowhere was not evaluated" in text


def test_a_study_without_dense_or_with_a_changed_file_is_an_error(root, tmp_path):
    with pytest.raises(RecordError, match="dense/r0.00/3_evaluation.json: no such record"):
        sources.load(tmp_path)
    copy = shutil.copytree(root, tmp_path / "copy")
    file = copy / "samples" / "ppm" / "r0.40" / "made_sums.parquet"
    file.write_bytes(file.read_bytes() + b"x")
    with pytest.raises(RecordError, match="made_sums.parquet: changed"):
        sources.load(copy)


def test_one_document_and_no_floor_give_no_verdict_and_no_nan(tmp_path):
    made.write_evaluation(tmp_path, "ppm", 0.0, 1, floor=False)
    made.write_evaluation(tmp_path, "ppm", 0.4, 1, floor=False)
    study = sources.load(tmp_path)
    with pytest.raises(RecordError, match="no width of ppm can be compared.*has 1 document"):
        judge(study)
    assert levels.scores_table(study)["low"].isna().all()


@pytest.mark.parametrize("n,verdict", [(60, "inconclusive"), (300, "equivalent")])
def test_identical_widths_change_nothing(tmp_path, n, verdict):
    for ratio in (0.0, 0.4):
        made.write_evaluation(tmp_path, "ppm", ratio, n)
    for name in NAMES:
        first, second = (tmp_path / f"samples/{run}/{name}.parquet" for run in
                         (sources.DENSE, "ppm/r0.40"))  # fmt: skip
        shutil.copy(first, second)
    path = records.record_path(tmp_path, "ppm/r0.40/3_evaluation")
    results = records.read(tmp_path, f"{sources.DENSE}/3_evaluation")["results"]
    inputs = json.loads(path.read_text())["inputs"]
    kept = {k: v for k, v in inputs.items() if k not in ("stage", "stage_version", "versions")}
    files = [tmp_path / f"samples/ppm/r0.40/{name}.parquet" for name in NAMES]
    records.write(tmp_path, "ppm/r0.40/3_evaluation", inputs=kept, results=results, files=files)
    table = verdicts.headlines(judge(sources.load(tmp_path), []), "ppm")
    assert (table["p_value"] == 1).all() and (table["diff_points"].abs() == 0).all()
    in_points = table["unit"] == "points"
    assert set(table.loc[in_points, "change"]) == {verdict}
    assert set(table.loc[~in_points, "change"]) == {"inconclusive"}


def test_rows_for_the_record_are_plain_json(judged, study):
    scores = levels.scores_table(study, all_metrics=True)
    for table in (judged, scores):
        rows = sources.plain_rows(table)
        assert json.loads(json.dumps(rows, allow_nan=False)) == rows
    assert any(row["p_adjusted"] is None for row in sources.plain_rows(judged))


def test_conclusions_say_what_could_have_been_missed(judged, study):
    text = conclusions.task_sentence(judged, "made_null", "ppm")
    assert "not distinguishable" in text and "was not detectable" in text
    assert "not above it at any width" in text
    low = judged.assign(change="better", level="not above floor")
    assert "not evidence of an ability" in " ".join(conclusions.summary(low, "ppm"))
    assert "made_trap" not in " ".join(conclusions.summary(judged, "ppm"))
    said = limits.sentences(study, judged, criterion="ppm", draft=True)
    assert said[0].startswith("SYNTHETIC") and said[1].startswith("DRAFT")
    assert any("not above its baseline on made_null" in sentence for sentence in said)


def test_widths_are_named_as_ranges():
    ratios = [0.1, 0.2, 0.3, 0.4, 0.5]
    assert wording.widths_text([0.3, 0.1, 0.2, 0.5], ratios) == "10-30% and 50% removed"
    assert wording.widths_text([0.125], [0.125]) == "12.5% removed"


def test_figures_have_alt_text_and_files(study, judged, tmp_path):
    scores = levels.scores_table(study)
    compared = contrasts.controls_table(study, judged, criterion="ppm", seed=0)
    axes = contrasts.axis_changes(study, judged, criterion="ppm", seed=0)
    shown = verdicts.shown_run(judged, CLAIMS, "ppm")
    figures = [
        abilities.draw_scores(scores, tasks=NAMES[:2], criterion="ppm"),
        abilities.draw_perplexity(scores, criterion="ppm"),
        abilities.draw_axes_changes(axes, pd.DataFrame()),
        abilities.draw_controls(scores, compared, tasks=NAMES[:1], criterion="ppm"),
        changes.draw_differences(judged, run=shown, tasks=NAMES),
        changes.draw_matrix(judged, tasks=NAMES, criterion="ppm"),
        draw_savings(study, "ppm"),
    ]
    assert shown == "ppm/r0.40"
    assert len({figure.name for figure in figures}) == len(figures)
    assert "made_knowledge 9" in figures[0].alt and "nan" not in " ".join(f.alt for f in figures)
    files = figures[0].write(tmp_path)
    assert len(files) == 3 and all(file.stat().st_size for file in files)


def test_tables_for_reading_and_latex_have_no_raw_underscores(judged):
    detail = verdict_tables.tabulate_verdicts(judged[judged["run"] == "ppm/r0.40"])
    text = verdict_tables.write_latex(detail, "A 40% study_name")
    assert r"made\_knowledge" in text and "95\\% interval" in text
    assert "_" not in text.replace(r"\_", "")
    floors = verdict_tables.tabulate_floors(verdicts.headlines(judged, "ppm"))
    assert list(floors.columns) == ["20%", "40%", "60%"]
    assert floors.loc[("made_null", "chance"), "20%"].endswith("°")


def test_one_task_at_one_width_is_spoken_of_in_the_singular(judged):
    one = judged[(judged["task"] == "made_knowledge") & (judged["run"] == "ppm/r0.40")]
    said = conclusions.summary(one, "ppm")
    assert "made_knowledge is " in said[0] and "of 1 task" not in said[0]
    assert "Over 1 task and 1 width: " in said[-1] and "over 1 headline comparison)" in said[-1]


def test_planted_tasks_alone_are_said_to_be_no_answer(judged):
    alone = judged[judged["axis"] == contrasts.PLANTED_AXIS]
    assert len(alone) and conclusions.summary(alone, "ppm") == [
        "Only planted tasks were evaluated: they test the instrument, not the model."
    ]
