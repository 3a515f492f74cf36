"""Trivial baselines, damage, generated answers and wrong use, on made-up records."""

import json
import re

import made_records as made
import numpy as np
import pandas as pd
import pytest

from ppmlib.analyse import contrasts, damage, levels, responses, sources, trivial, verdicts
from ppmlib.record import records
from ppmlib.record.records import RecordError
from ppmlib.show import equal_damage, limits, trivial_baselines, verdict_tables, written_answers
from ppmlib.show.figures import answers, decisions
from ppmlib.show.figures import damage as plots
from ppmlib.statistics import paired
from ppmlib.statistics.verdicts import level_verdict

NAMES = [task["name"] for task in made.TASKS]
KINDS = ("floor-constant", "floor-empty", "floor-echo")
RATIOS = (0.2, 0.4)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    root = made.write_study(tmp_path_factory.mktemp("study"), ratios=RATIOS, n=150, seeds=range(5))
    generated = [task for task in made.TASKS if task["name"] in made.GENERATED]
    for kind in KINDS:
        made.write_evaluation(root, kind, 0.0, 150, tasks=generated, floor=False)
    made.write_evaluation(root, "noise", 0.4, 150)
    made.write_evaluation(root, "dense-aa", 0.0, 150, change_inputs={"batch_size": 1})
    return sources.load(root)


@pytest.fixture(scope="module")
def judged(study):
    return verdicts.verdict_table(study, NAMES, [], criterion="ppm", bootstrap_seed=0)


@pytest.fixture(scope="module")
def responders(study):
    return trivial.responder_table(study, seed=0)


@pytest.fixture(scope="module")
def beyond(study, responders):
    return trivial.beyond_table(study, responders, criterion="ppm", seed=0)


@pytest.fixture(scope="module")
def damaged(study, judged):
    return damage.damage_table(study, judged, criterion="ppm")


@pytest.fixture(scope="module")
def answered(study):
    return responses.response_table(study, NAMES, criterion="ppm")


def joined_text(*tables):
    """Everything the tables show a reader, as one text."""
    return " ".join(table.to_string() for table in tables)


def test_responders_and_the_repeated_dense_run_are_no_widths(study):
    assert set(study.trivial) == {"constant", "empty", "echo"}
    assert not any(run.startswith(("floor-", "dense-aa")) for run in study.runs)
    assert "dense-aa/r0.00" in study.evaluations
    assert "noise/r0.40" in study.runs and study.runs["noise/r0.40"].expansion_ratio == 4.0


def test_a_responder_of_another_lm_eval_is_refused(tmp_path, monkeypatch):
    made.write_evaluation(tmp_path, "ppm", 0.0, 30)
    other = records.package_versions() | {"lm_eval": "0.0.1"}
    monkeypatch.setattr(records, "package_versions", lambda: other)
    made.write_evaluation(tmp_path, "floor-echo", 0.0, 30, tasks=made.TASKS[1:2])
    with pytest.raises(RecordError, match="versions.lm_eval is .* and '0.0.1'"):
        sources.load(tmp_path)


def test_the_range_of_the_responders_is_measured(study, responders):
    mine = responders[responders["task"] == "made_sums"].set_index("responder")
    for kind, row in mine.iterrows():
        samples = study.samples(study.trivial[kind], "made_sums")
        assert row["value"] == pytest.approx(samples["exact_match,none"].mean())
        assert row["low"] <= row["value"] <= row["high"]
    assert mine.loc["empty", "value"] == 0 and list(mine["value"]) == sorted(
        mine["value"], reverse=True
    )


def test_what_no_responder_passes_is_scored_by_itself(study, beyond):
    row = beyond[(beyond["task"] == "made_sums") & (beyond["run"] == "ppm/r0.40")].iloc[0]
    passed = np.any([study.samples(run, "made_sums")["exact_match,none"] > 0
                     for run in study.trivial.values()], axis=0)  # fmt: skip
    dense, pruned = (study.samples(run, "made_sums")["exact_match,none"].to_numpy()[~passed]
                     for run in (sources.DENSE, "ppm/r0.40"))  # fmt: skip
    expected = paired.compare_binary(dense, pruned)
    assert row["hard_n"] == (~passed).sum() and row["hard_value"] == pytest.approx(pruned.mean())
    assert row["hard_change_points"] == pytest.approx(100 * expected.difference)
    assert row["hard_low"] == pytest.approx(100 * expected.low)
    assert row["against_best"] == level_verdict(row["above_low"], row["above_high"])


def test_sentences_about_responders_carry_their_numbers(responders, beyond):
    sums = trivial_baselines.describe_baselines(responders, beyond, "ppm/r0.40")[-1]
    assert "0.0% (empty answer) to" in sums and "passed" not in sums.split("On the")[0]
    assert "that no trivial baseline passes: dense" in sums
    nothing = trivial_baselines.describe_baselines(responders[:0], beyond[:0], "ppm/r0.40")
    assert nothing[0].startswith("No trivial baseline was evaluated")
    assert trivial_baselines.summarise_baselines(beyond[:0], "ppm/r0.40") == []
    assert "of 3 tasks" in trivial_baselines.summarise_baselines(beyond, "ppm/r0.40")[0]


def test_when_responders_pass_everything_there_is_no_rest_to_score(tmp_path):
    def all_right(task, table):
        return table.assign(**{"exact_match,none": 1.0})

    tasks = made.TASKS[1:2]
    for selection, ratio in (("ppm", 0.0), ("ppm", 0.4)):
        made.write_evaluation(tmp_path, selection, ratio, 30, tasks=tasks)
    made.write_evaluation(tmp_path, "floor-echo", 0.0, 30, tasks=tasks, change_table=all_right)
    study = sources.load(tmp_path)
    found = trivial.responder_table(study, seed=0)
    table = trivial.beyond_table(study, found, criterion="ppm", seed=0)
    assert (table["hard_n"] == 0).all() and table["hard_value"].isna().all()
    assert (
        "too few to compare" in trivial_baselines.describe_baselines(found, table, "ppm/r0.40")[0]
    )
    assert "nan" not in joined_text(trivial_baselines.tabulate_baselines(table)).lower()


def test_damage_of_every_kind_has_its_perplexity(study, damaged):
    assert set(damaged["kind"]) == {"dense", "ppm", "random", "noise"}
    assert set(damaged["perplexity_task"]) == {"made_text"}
    row = damaged[damaged["run"] == "noise/r0.40"].iloc[0]
    assert row["perplexity"] == study.headline("noise/r0.40", "made_text")["value"]


def test_five_seeds_are_pooled_over_documents_and_seeds(study, damaged):
    pooled = damage.pooled(damaged, study, seed=0)
    assert list(pooled["seeds"]) == [5, 5] and not pooled["is_range"].any()
    row = pooled.iloc[0]
    values = [study.headline(run, row["task"])["value"] for run in row["runs"]]
    assert row["value"] == pytest.approx(np.mean(values)) and row["low"] < np.mean(values)
    few = damage.pooled(damaged[damaged["seed"] < 3], study, seed=0).iloc[0]
    assert few["is_range"] and (few["low"], few["high"]) == (min(values[:3]), max(values[:3]))


def test_equal_damage_is_compared_and_unequal_damage_is_said_to_be(study, damaged):
    table = damage.matched_table(study, damaged, criterion="ppm", seed=0)
    noise = table[table["control"] == "noise"].iloc[0]
    row = study.headline("ppm/r0.40", "made_instructions")
    expected = study.change("ppm/r0.40", row, seed=0, reference="noise/r0.40")
    assert noise["difference_points"] == pytest.approx(100 * expected.difference)
    gap = np.log(table["perplexity"] / table["control_perplexity"]).abs()
    assert (table["matched"] == (gap <= 0.1)).all()
    far = table.assign(matched=False)
    assert "no comparison at equal damage" in equal_damage.describe_damage(far, damaged, "ppm")[0]
    assert "cannot be compared" in equal_damage.describe_damage(table[:0], damaged, "ppm")[0]
    assert (
        "no width was evaluated on both"
        in equal_damage.describe_damage(table[:0], damaged[:0], "ppm")[0]
    )


def test_the_change_is_the_sum_over_degenerate_and_other_answers(study, judged, answered):
    for row in answered[answered["run"] != sources.DENSE].itertuples():
        split = row.from_degenerate_points + row.from_proper_points
        assert split == pytest.approx(row.change_points)
        mine = judged[(judged["run"] == row.run) & (judged["task"] == row.task)
                      & judged["headline"]].iloc[0]  # fmt: skip
        assert (row.gained, row.lost) == (mine["gained"], mine["lost"])
        assert row.change_points == pytest.approx(mine["diff_points"])


def test_empty_looping_and_endless_answers_are_degenerate():
    table = pd.DataFrame({
        "response": ["", "  ", "la la la la la la la la la", "a b c d e f g", "fine"],
        "response_tokens": [0, 1, 9, 7, 1], "stopped": [True, True, True, False, True],
    })  # fmt: skip
    found = responses.features(table)
    assert list(found["degenerate"]) == [True, True, True, True, False]
    assert list(found["repeating"]) == [False, False, True, False, False]
    assert list(found["empty"]) == [True, True, False, False, False]


def test_kinds_of_instruction_are_paired_by_document(study):
    task = responses.task_with_kinds(study, NAMES)
    table = responses.kinds_table(study, task, "ppm/r0.40", seed=0).set_index("kind")
    assert task == "made_instructions" and set(table.index) == {"reverse", "commas", "quotes"}
    dense, pruned = (study.samples(run, task)["inst_level_strict_acc,none"].map(lambda v: v[0])
                     for run in (sources.DENSE, "ppm/r0.40"))  # fmt: skip
    expected = paired.compare_binary(dense, pruned)
    assert table.loc["reverse", "diff_points"] == pytest.approx(100 * expected.difference)
    assert table.loc["reverse", "n"] == 150 and (table["p_adjusted"] >= table["p_value"]).all()
    sentence = written_answers.describe_kinds(table.reset_index(), task, 0.4)
    assert sentence.startswith("Of 3 kinds of instruction")
    assert responses.kinds_table(study, None, "ppm/r0.40", seed=0).empty


def test_examples_are_documents_that_changed_and_the_same_for_a_seed(study):
    drawn = responses.draw_examples(study, "made_instructions", "ppm/r0.40", seed=0)
    shown = written_answers.tabulate_examples(drawn)
    row = study.headline("ppm/r0.40", "made_instructions")
    gap = study.outcome("ppm/r0.40", row).totals - study.outcome(sources.DENSE, row).totals
    for happened, document in shown.index:
        assert np.sign(gap[document]) == {"gained": 1, "lost": -1}[happened]
    assert len(shown) == min(12, int((gap != 0).sum()))
    again = responses.draw_examples(study, "made_instructions", "ppm/r0.40", seed=0)
    pd.testing.assert_frame_equal(drawn, again)
    assert "<b>" not in shown.to_html() and "&lt;b&gt;" in shown.to_html()


def test_figures_and_tables_hold_no_missing_number(
    study, judged, responders, beyond, damaged, answered
):
    matched = damage.matched_table(study, damaged, criterion="ppm", seed=0)
    kinds = responses.kinds_table(study, "made_instructions", "ppm/r0.40", seed=0)
    pooled = damage.pooled(damaged, study, seed=0)
    claims = [
        {"task": "made_sums", "pruning_ratio": 0.4, "direction": "worse", "margin_points": 5},
        {"task": "made_null", "pruning_ratio": 0.4, "direction": "equivalent", "margin_points": 9},
        {"task": "made_sums", "pruning_ratio": 0.6, "direction": "better", "margin_points": 0},
    ]
    tested = verdicts.claims_table(study, claims, criterion="ppm", seed=0)
    trade = contrasts.trade_off(judged, criterion="ppm", margin_points=3.0)
    mine = verdicts.headlines(judged, "ppm")
    compared = contrasts.controls_table(study, judged, criterion="ppm", seed=0)
    figures = [
        plots.draw_trivial(responders, beyond, tasks=NAMES, criterion="ppm"),
        plots.draw_damage(damaged, pooled, criterion="ppm", responders=responders),
        answers.draw_lengths(answered, tasks=NAMES),
        answers.draw_kinds(kinds, task="made_instructions", run="ppm/r0.40"),
        decisions.draw_claims(tested),
        decisions.draw_trade_off(mine, trade),
    ]
    assert all("nan" not in figure.alt for figure in figures)
    shown = joined_text(
        trivial_baselines.tabulate_baselines(beyond),
        equal_damage.tabulate_damage(matched),
        written_answers.tabulate_answers(answered),
        written_answers.tabulate_kinds(kinds),
        verdict_tables.tabulate_claims(tested),
        verdict_tables.tabulate_trade_off(mine, trade),
        verdict_tables.tabulate_controls(compared, "ppm/r0.40"),
    ).lower()
    assert not re.search(r"\bnan\b|<na>|\bnone\b", shown)
    for table in (beyond, matched, answered, kinds):
        rows = sources.plain_rows(table)
        assert json.loads(json.dumps(rows, allow_nan=False)) == rows


def test_a_study_without_responders_answers_or_damage_draws_nothing(study, damaged, answered):
    empty = trivial.responder_table(study, seed=0)[:0]
    table = trivial.beyond_table(study, empty, criterion="ppm", seed=0)
    assert plots.draw_trivial(empty, table, tasks=NAMES, criterion="ppm") is None
    assert plots.draw_damage(damaged[:0], pd.DataFrame(), criterion="ppm", responders=empty) is None
    assert answers.draw_lengths(answered[:0], tasks=NAMES) is None
    assert written_answers.describe_answers(answered[:0], "ppm/r0.40")[0].startswith("No task")


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_all_right_and_all_wrong_give_clear_results(tmp_path, value):
    def constant(task, table):
        scores = [name for name in table if name.startswith(("acc", "exact", "prompt_"))]
        return table.assign(**dict.fromkeys(scores, value))

    tasks = [task for task in made.TASKS if task["name"] in ("made_sums", "made_tracking")]
    for ratio in (0.0, 0.4):
        made.write_evaluation(tmp_path, "ppm", ratio, 40, tasks=tasks, change_table=constant)
    for ratio in (0.0, 0.4):  # the rows must be those of the changed documents
        run = "dense/r0.00" if ratio == 0 else "ppm/r0.40"
        path = records.record_path(tmp_path, f"{run}/3_evaluation")
        record = json.loads(path.read_text())
        for row in record["results"]["rows"]:
            if row["source"] == "model":
                row["value"] = value
        files = [tmp_path / name for name in record["files"]]
        inputs = {k: v for k, v in record["inputs"].items() if k not in (
            "stage", "stage_version", "versions")}  # fmt: skip
        records.write(tmp_path, f"{run}/3_evaluation", inputs=inputs, results=record["results"],
                      files=files)  # fmt: skip
    study = sources.load(tmp_path)
    names = [task["name"] for task in tasks]
    table = verdicts.verdict_table(study, names, [], criterion="ppm", bootstrap_seed=0)
    assert (table["p_value"] == 1).all() and (table["diff_points"] == 0).all()
    assert (table["ci_low_points"] < 0).all() and (table["ci_high_points"] > 0).all()
    assert set(table["change"]) == {"inconclusive"}
    said = limits.sentences(study, table, criterion="ppm", draft=False)
    assert "No random selection was evaluated as a control." in said
    assert levels.scores_table(study)["value"].eq(value).all()


def test_strata_sharpen_and_never_widen(study):
    rng = np.random.default_rng(0)
    subject = np.repeat(np.arange(20), 30)
    chance = np.repeat(np.linspace(0, 1, 20), 30)
    dense, pruned = rng.random(600) < 0.9, rng.random(600) < chance
    plain = paired.compare(dense, pruned, seed=0)
    strict = paired.compare(dense, pruned, strata=subject, seed=0)
    assert strict.difference == plain.difference and strict.p_value == plain.p_value
    assert plain.low < strict.low < strict.high < plain.high
    one = paired.compare(dense, pruned, strata=np.zeros(600), seed=0)
    assert (one.low, one.high) == pytest.approx((plain.low, plain.high), abs=2e-3)
    with pytest.raises(ValueError, match="3 strata for 600 documents"):
        paired.compare(dense, pruned, strata=[1, 2, 3], seed=0)
