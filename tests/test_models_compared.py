"""Studies side by side, published and measured scores, the simulations, on made-up records."""

import json
import subprocess
import sys
from pathlib import Path

import made_records as made
import numpy as np
import pandas as pd
import pytest

from ppmlib import published as paper
from ppmlib.analyse import across, sources, verdicts
from ppmlib.analyse.study_records import DENSE
from ppmlib.published import side_by_side
from ppmlib.record import records
from ppmlib.record.records import RecordError
from ppmlib.show import conclusions, published_measured, several_models, simulated
from ppmlib.show.figures import models as plots
from ppmlib.show.figures import simulations as simulation_plots
from ppmlib.simulations import simulations
from ppmlib.simulations.bounds import ENOUGH_PAIRS, check_bounds

TASKS = [task for task in made.TASKS if task["name"] in ("made_knowledge", "made_sums",
                                                        "made_text")]  # fmt: skip
NAMES = [task["name"] for task in TASKS]
SETTINGS = {"add_bos_token": True, "batch_size": 64, "floors": {}}


def write(root: Path, study: str, *, ratios=(0.2, 0.4), tasks=TASKS, settings=None, table=None):
    """A made study with its analysis record, as notebook 5 leaves it."""
    changed = {"settings": SETTINGS | (settings or {}),
               "tasks": {task["name"]: {"name": task["name"], "n": 80, "doc_sha256": "same"}
                         for task in tasks}}  # fmt: skip
    for ratio in (0.0, *ratios):
        made.write_evaluation(root, "ppm", ratio, 80, tasks=tasks, change_inputs=changed,
                              change_table=table)  # fmt: skip
    return write_analysis(root, study, tasks)


def write_analysis(root: Path, study: str, tasks):
    """The analysis record of the evaluations that are there."""
    read = sources.load(root)
    names = [task["name"] for task in tasks]
    judged = verdicts.verdict_table(read, names, [], criterion="ppm", bootstrap_seed=0)
    results = {"study": study, "model": study, "synthetic": True, "draft": False, "claims": [],
               "verdicts": sources.plain_rows(judged)}  # fmt: skip
    records.write(root, "5_analysis", inputs={"criterion": "ppm", "tasks": tasks}, results=results)
    return root


def change_input(root: Path, field: str, value) -> None:
    """The dense evaluation again, with one input changed."""
    key = f"{DENSE}/3_evaluation"
    record = records.read(root, key)
    inputs = {k: v for k, v in record["inputs"].items() if k not in (
        "stage", "stage_version", "versions")}  # fmt: skip
    *path, last = field.split(".")
    inner = inputs
    for name in path:
        inner = inner[name]
    inner[last] = value
    records.write(root, key, inputs=inputs, results=record["results"],
                  files=[root / name for name in record["files"]])  # fmt: skip


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    folder = tmp_path_factory.mktemp("studies")
    return [write(folder / "a", "a"), write(folder / "b", "b", ratios=(0.2, 0.4, 0.6),
                                            tasks=TASKS[:2] + TASKS[2:])]  # fmt: skip


def test_models_are_counted_and_nothing_is_pooled(two):
    loaded = across.load(two)
    table = across.changes_table(loaded)
    assert across.common_tasks(loaded) == NAMES and across.shared_ratios(table) == [0.2, 0.4]
    assert not any("p_value" in name for name in table)
    counts = across.agreement(table)
    kinds = ["worse", "better", "equivalent", "inconclusive"]
    assert (counts[kinds].sum(axis=1) == counts["models"]).all() and set(counts["models"]) == {2}
    said = several_models.describe_models(table, loaded)
    assert said[-1].startswith("2 models (a and b), 3 tasks in common")
    assert "no pooled p-values" in said[-1]
    figure = plots.draw_changes(table)
    assert figure.name == "models" and "nan" not in figure.alt
    tables = several_models.tabulate_models(table, 0.4), several_models.tabulate_agreement(counts)
    shown = "".join(each.to_string() for each in tables)
    assert "nan" not in shown.lower() and "4.00\u00a0→\u00a02.41" in shown


def test_one_study_is_no_comparison_and_none_twice(two):
    loaded = across.load(two[:1])
    assert (
        "nothing to compare"
        in several_models.describe_models(across.changes_table(loaded), loaded)[0]
    )
    with pytest.raises(RecordError, match="study a is given twice"):
        across.load([two[0], two[0]])
    with pytest.raises(RecordError, match="5_analysis.json: no such record"):
        across.load([two[0], two[0] / "nowhere"])


@pytest.mark.parametrize(
    "field,value,named",
    [
        ("settings.batch_size", 1, "settings.batch_size is 64 and 1"),
        ("settings.add_bos_token", False, "settings.add_bos_token is True and False"),
        ("tasks.made_sums.doc_sha256", "x", "made_sums: doc_sha256 is 'same' and 'x'"),
        ("model.dtype", "bfloat16", "model.dtype is 'float32' and 'bfloat16'"),
    ],
)
def test_studies_evaluated_unlike_are_refused_naming_the_field(two, tmp_path, field, value, named):
    other = write(tmp_path / "b", "b")
    change_input(other, field, value)
    with pytest.raises(RecordError, match=named):
        across.load([two[0], other])


@pytest.mark.parametrize(("field", "value"), [("metric", "acc"), ("axis", "language")])
def test_another_score_of_a_common_task_is_refused(two, tmp_path, field, value):
    tasks = [TASKS[0] | {field: value}, *TASKS[1:]]
    with pytest.raises(RecordError, match=f"made_knowledge: {field} is '.*' and '{value}'"):
        across.load([two[0], write(tmp_path / "b", "b", tasks=tasks)])


def test_what_a_model_was_not_evaluated_on_agrees_with_nothing(tmp_path):
    study = {name: write(tmp_path / name, name, tasks=TASKS[:2]) for name in ("a", "b")}
    inputs = records.read(study["b"], "ppm/r0.40/3_evaluation")["inputs"]
    changed = {name: inputs[name] for name in ("settings", "tasks")}
    made.write_evaluation(study["b"], "ppm", 0.4, 80, tasks=TASKS[1:2], change_inputs=changed)
    loaded = across.load([tmp_path / "a", write_analysis(study["b"], "b", TASKS[:2])])
    table = across.changes_table(loaded)
    assert list(across.agreement(table).query("pruning_ratio == 0.4")["task"]) == ["made_sums"]
    said = " ".join(several_models.describe_models(table, loaded))
    assert "Worse in every model at 40% removed: made_sums." in said
    assert "Not evaluated in every model at 40% removed: made_knowledge." in said


def test_models_alike_are_said_to_be_whatever_the_verdict(two):
    loaded = across.load(two)
    table = across.changes_table(loaded).assign(change="inconclusive", margin_points=3.0)
    said = several_models.describe_models(table, loaded)
    assert said[:-1] == [f"Inconclusive in every model at 40% removed: {', '.join(NAMES[:2])} and "
                        f"{NAMES[2]}."]  # fmt: skip
    table.loc[table["study"] == "b", "margin_points"] = 5.0
    assert "differs between the studies" in several_models.describe_models(table, loaded)[-2]


def test_another_lm_eval_is_refused(two, tmp_path, monkeypatch):
    versions = records.package_versions() | {"lm_eval": "0.0.1"}
    monkeypatch.setattr(records, "package_versions", lambda: versions)
    other = write(tmp_path / "b", "b")
    with pytest.raises(RecordError, match="versions.lm_eval is .* and '0.0.1'"):
        across.load([two[0], other])


def test_compare_refuses_before_any_notebook_starts(two, tmp_path):
    def compare(*folders):
        command = [sys.executable, "-m", "ppmlib.cli", "compare", *map(str, folders)]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    alone = compare(two[0])
    assert alone.returncode == 2 and "two finished studies or more" in alone.stderr
    missing = compare(two[0], tmp_path / "none")
    assert missing.returncode == 2 and "no such record" in missing.stderr
    assert not (tmp_path / "reports").exists()


def published_study(root: Path, change_settings=None) -> sources.Study:
    """Made records under the published names: IFEval near the published scores, MC2 far away."""
    tasks = [
        {"name": "ifeval", "num_fewshot": 0, "metric": "prompt_level_strict_acc", "filter": "none",
         "axis": "instruction"},
        {"name": "boolq", "num_fewshot": 0, "metric": "acc", "filter": "none", "axis": "reading"},
    ]  # fmt: skip
    scores = {"ifeval": {0.0: 0.1035, 0.4: 0.1516}, "boolq": {0.0: 0.6343, 0.4: 0.9}}
    settings = {"add_bos_token": False, "apply_chat_template": False, "subset": None}
    for ratio in (0.0, 0.4):

        def table(task, frame, ratio=ratio):
            n = len(frame)
            right = np.arange(n) < round(scores[task][ratio] * n)
            return frame.assign(**{next(c for c in frame if "," in c): right.astype(float)})

        made.write_evaluation(root, "ppm", ratio, 541, tasks=[
            {**task, "name": {"ifeval": "made_sums", "boolq": "made_tracking"}[task["name"]]}
            for task in tasks])  # fmt: skip
        rename(root, ratio, tasks, table, settings | (change_settings or {}))
    return sources.load(root)


def rename(root, ratio, tasks, table, settings) -> None:
    """Give made tasks the names, metrics and outcomes of published ones."""
    run = "dense/r0.00" if ratio == 0 else f"ppm/r{ratio:.2f}"
    record = records.read(root, f"{run}/3_evaluation")
    names = {"made_sums": tasks[0], "made_tracking": tasks[1]}
    rows, files, about = [], [], {}
    for old, task in names.items():
        metric = f"{task['metric']},none"
        frame = pd.read_parquet(root / f"samples/{run}/{old}.parquet")
        frame = frame.rename(columns={"exact_match,none": metric, "acc,none": metric})
        frame = frame[["doc_id", "doc_hash", "target_hash", metric]]
        frame = table(task["name"], frame)
        path = root / f"samples/{run}/{task['name']}.parquet"
        records.write_parquet(path, frame)
        files.append(path)
        row = next(r for r in record["results"]["rows"] if r["task"] == old)
        value = float(frame[metric].mean())
        known = {"task": task["name"], "metric": task["metric"], "axis": task["axis"]}
        rows.append({**row, **known, "headline": True, "chance": None, "value": value})
        about[task["name"]] = {**record["results"]["tasks"][old], "num_fewshot": 0}
    results = {**record["results"], "rows": rows, "tasks": about}
    results["pruning_ratio"] = ratio
    records.write(root, f"{run}/3_evaluation", inputs={"settings": settings}, results=results,
                  files=files)  # fmt: skip


MODEL = "meta-llama/Llama-3.2-1B"


def test_published_and_measured_agree_or_differ_by_the_errors_of_both(tmp_path):
    table = side_by_side.of_study(published_study(tmp_path), MODEL)
    found = table.set_index(["task", "pruning_ratio"])
    assert set(found.index) == {(t, r) for t in ("ifeval", "boolq") for r in (0.0, 0.4)}
    assert found.loc[("ifeval", 0.4), "verdict"] == "agrees"
    assert found.loc[("boolq", 0.4), "verdict"] == "differs"
    row = found.loc[("boolq", 0.4)]
    error = np.hypot(row["measured_se"], row["published_se"])
    assert row["z"] == pytest.approx((row["measured"] - row["published"]) / error)
    assert found.loc[("ifeval", 0.4), "published_change"] == pytest.approx(4.81)
    said = published_measured.score_sentences(table, MODEL)
    assert "3 agree, 1 differ" in said[0] and "boolq at 40% removed" in said[-1]
    assert not pd.isna(published_measured.score_table(table)).any().any()
    assert "nan" not in published_measured.score_table(table).to_string().lower()
    assert json.loads(json.dumps(sources.plain_rows(table), allow_nan=False))


def test_another_protocol_is_not_comparable_and_says_why(tmp_path):
    study = published_study(tmp_path, {"add_bos_token": True})
    table = side_by_side.of_study(study, MODEL)
    assert set(table["verdict"]) == {"not comparable"}
    assert "add_bos_token is True, published False" in " ".join(
        published_measured.score_sentences(table, MODEL)
    )


def test_a_model_the_paper_did_not_score_has_no_table(two):
    table = side_by_side.of_study(sources.load(two[0]), "made")
    assert table.empty and published_measured.score_table(table).empty
    assert published_measured.score_sentences(table, "made") == [
        "The paper published no scores of this model."
    ]
    assert (
        "No published score"
        in published_measured.score_sentences(table, next(iter(paper.MODELS)))[0]
    )


def test_a_change_no_larger_than_the_noise_is_flagged():
    flips = pd.DataFrame([{"task": "t", "metric": "m", "n": 100, "flips": 3}])
    heads = pd.DataFrame([{"task": "t", "change": "better", "within_noise": True,
                           "pruning_ratio": 0.4}])  # fmt: skip
    assert (
        "no larger than the A/A differences: t at 40%"
        in conclusions.noise_sentences(flips, heads)[0]
    )
    large = heads.assign(within_noise=None)
    assert "is that small" in conclusions.noise_sentences(flips, large)[0]
    assert "no A/A repeat" in conclusions.noise_sentences(flips[:0], heads)[0]


@pytest.fixture(scope="module")
def tables():
    return {
        "coverage": simulations.coverage_table((100, 300), draws=1200, seed=0),
        "losses": simulations.losses_table((100, 300)),
        "graded": simulations.graded_table((100,), rates=(0.05, 0.20), draws=200, seed=0),
        "combined": simulations.combined_table(draws=300, seed=0),
        "seeds": simulations.seeds_table(
            (5,), n=100, cases=((0.02, 0.0), (0.10, 0.0), (0.0, 0.01)), draws=300, seed=0
        ),
        "false_positives": simulations.false_positive_table(
            (300,), claims=(1, 3), draws=600, seed=0
        ),
        "power": simulations.power_table((300,), effects=(0.05, 0.10), draws=500, seed=0),
    }


def test_intervals_cover_and_false_claims_stay_rare(tables):
    coverage, graded, false = (tables[name] for name in ("coverage", "graded", "false_positives"))
    assert (coverage["coverage"] >= 0.93).all()
    enough = coverage[coverage["expected_pairs"] >= ENOUGH_PAIRS]
    assert enough["coverage"].between(0.93, 0.97).all() and len(enough) >= 5
    assert (graded["false_positives"] <= 0.08).all()
    assert (false["family"] <= 0.05 + 2 * false["error"]).all()
    bounds = check_bounds(tables)
    assert bounds["holds"].all() and len(bounds) == 8
    assert bounds["error"].max() < 0.02


def test_simulated_coverage_is_the_exact_one(tables):
    exact = tables["losses"].set_index(["n", "expected_pairs"])["coverage"]
    drawn = simulations.coverage_table((300,), rates=((0.0, 0.03),), draws=4000, seed=1).iloc[0]
    assert exact[300, 9.0] == pytest.approx(drawn["coverage"], abs=3 * drawn["error"])
    assert exact.min() > 0.925


def test_the_percentile_bootstrap_of_two_tasks_would_break_the_bound(tables):
    bootstrap = tables["combined"].assign(coverage=tables["combined"]["bootstrap_coverage"])
    broken = check_bounds(tables | {"combined": bootstrap})
    assert list(broken["holds"]) == [True] * 4 + [False] + [True] * 3


@pytest.mark.parametrize(
    ("name", "column", "value"),
    [("coverage", "coverage", 0.80), ("coverage", "coverage", 0.995), ("graded", "coverage", 0.8),
     ("seeds", "coverage", 0.88), ("false_positives", "family", 0.09),
     ("graded", "false_equivalences", 0.10), ("graded", "level_coverage", 0.88)],
)  # fmt: skip
def test_a_broken_bound_is_said_to_be_broken(tables, name, column, value):
    broken = check_bounds(tables | {name: tables[name].assign(**{column: value})})
    assert list(broken["holds"]).count(False) == 1
    assert "7 of 8 bounds hold; not:" in simulated.sentences(broken, tables)[1]


def test_power_is_that_of_the_smallest_detectable_change(tables):
    power = tables["power"].set_index("effect")
    assert power.loc[0.10, "power"] > 0.95 and power.loc[0.05, "power"] < 0.80
    assert 5 < power["detectable_points"].iloc[0] < 10
    assert (power["power_holm"] <= power["power"] + 1e-12).all()


def test_tables_of_the_simulations_can_be_recorded_and_read(tables):
    for name, table in tables.items():
        assert json.loads(records.canonical(table.to_dict("records")))
        if name == "losses":
            continue
        read = simulated.tabulate(name, table)
        assert len(read) == len(table)
        assert not read.map(lambda cell: "nan" in str(cell)).any(axis=None)


def test_figures_of_the_simulations_have_alt_text(tables):
    drawn = [simulation_plots.draw_coverage(tables["coverage"], tables["graded"]),
             simulation_plots.draw_power(tables["power"]),
             simulation_plots.draw_false_positives(tables["false_positives"])]  # fmt: skip
    assert all("nan" not in figure.alt for figure in drawn)
