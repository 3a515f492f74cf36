"""Studies in which something is missing: notebook 5 and the study's page say so in words.

Every subset of the kinds of tasks, with and without claims, controls, floors and a second width.
Figures are made but not rendered, which takes ten times as long; one study is run as it is.
"""

import functools
import io
from itertools import combinations, product
from pathlib import Path

import made_records as made
import matplotlib.figure
import pandas as pd
import papermill
import pytest
from IPython.display import Markdown
from PIL import Image
from run_cells import NOTEBOOKS, run_cells

from ppmlib.bench import planted
from ppmlib.page import pages
from ppmlib.record import records
from ppmlib.show import figures as plots

KINDS = {
    "points": ["made_mc2"],
    "perplexity": ["made_text"],
    "planted": list(made.PLANTED),
    "generation": ["made_sums", "made_instructions"],
    "choice": ["made_knowledge", "made_tracking"],
}
SUBSETS = [subset for n in range(1, 6) for subset in combinations(KINDS, n)]
ALL = frozenset({"claims", "controls", "floors", "widths"})
HAS = [ALL, frozenset(), *(ALL - {option} for option in sorted(ALL))]
# Every kind alone with each of them, every other subset with one in turn; all crossings if asked.
STUDIES = list(product([(kind,) for kind in KINDS], HAS))
STUDIES += [(subset, HAS[at % len(HAS)]) for at, subset in enumerate(SUBSETS[len(KINDS) :])]
EVERY_HAS = [frozenset(has) for n in range(len(ALL) + 1) for has in combinations(sorted(ALL), n)]
REST = [pytest.param(*study, marks=pytest.mark.slow)
        for study in product(SUBSETS, EVERY_HAS) if study not in STUDIES]  # fmt: skip
VERSIONS = functools.cache(records.package_versions)


def write_study(root: Path, kinds, has) -> dict:
    """A study of these kinds of tasks that has only the options named; notebook 5's parameters."""
    wanted = {name for kind in kinds for name in KINDS[kind]}
    tasks = [task for task in made.TASKS if task["name"] in wanted]
    ratios = (0.2, 0.4) if "widths" in has else (0.4,)
    how = {"tasks": tasks, "floor": "floors" in has}
    made.write_evaluation(root, "ppm", 0.0, 24, **how)
    for ratio in ratios:
        made.write_evaluation(root, "ppm", ratio, 24, **how)
    for control in ("random-s0", "noise", "inverse") if "controls" in has else ():
        made.write_evaluation(root, control, 0.4, 24, **how)
    answered = [task for task in tasks if task["name"] != "made_text"]
    if "floors" in has and answered:
        made.write_evaluation(root, "floor-constant", 0.0, 24, tasks=answered, floor=False)
        made.write_evaluation(root, "dense-aa", 0.0, 24, **how)
    if "widths" in has:
        made.write_profiling(root, (0.0, *ratios))
    claims = [{"task": task["name"], "pruning_ratio": 0.4, "direction": direction,
               "margin_points": 5.0} for task in tasks
              for direction in ("worse", "equivalent")]  # fmt: skip
    return {
        "study": "made", "question": "Does it run?", "model": "made", "tasks": tasks,
        "claims": claims * ("claims" in has), "planted": True, "draft": False, "record_dir": ".",
        "tradeoff_margin_points": 4.0,
    }  # fmt: skip


def page_of(root: Path, parameters: dict) -> str:
    """The study's page, made from all records that are there."""
    keys = [path.relative_to(root / "records").with_suffix("").as_posix()
            for path in (root / "records").rglob("*.json")]  # fmt: skip
    study = {
        "study": "made", "question": "Does it run?", "criterion": "ppm", "controls": [],
        "model": {"id": "made", "revision": None, "dtype": "float32"}, "keep_multiple_of": 1,
        "pruning_ratios": [0.4], "expansion_ratios": None, "profiling": None,
        "tasks": parameters["tasks"], "claims": parameters["claims"],
    }  # fmt: skip
    jobs = {key: {"stage": records.stage_of(key)} for key in keys}
    plan = {"study": study, "synthetic": True, "draft": False, "jobs": jobs}
    return pages.build_index(root, study=plan).read_text(encoding="utf-8")


def drawn_data(axis) -> bool:
    """Whether an axis shows a value of its table, not only lines across it."""
    lines = [line for line in axis.lines if line.get_transform() == axis.transData
             and pd.notna(line.get_ydata()).any() and pd.notna(line.get_xdata()).any()
             and len(line.get_xdata())]  # fmt: skip
    return bool(lines or axis.images or axis.collections)


@pytest.fixture
def unrendered(monkeypatch):
    """Figures are checked for data and saved as one white pixel."""
    monkeypatch.setattr(
        records, "package_versions", lambda names=records.PACKAGES: VERSIONS(tuple(names))
    )
    buffer = io.BytesIO()
    Image.new("RGB", (1, 1), "white").save(buffer, format="png")

    def savefig(figure, target, **_):
        visible = [axis for axis in figure.axes if axis.get_visible()]
        assert visible and all(drawn_data(axis) for axis in visible)
        target.write(buffer.getvalue()) if hasattr(target, "write") else target.touch()

    monkeypatch.setattr(matplotlib.figure.Figure, "savefig", savefig)


@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.parametrize(("kinds", "has"), [*STUDIES, *REST])
def test_whatever_a_study_lacks_its_analysis_and_page_say_so(
    kinds, has, tmp_path, monkeypatch, unrendered
):
    truths = {task: planted.Planted(task, "acc", expected, "said before")
              for task, expected in made.PLANTED.items()}  # fmt: skip
    monkeypatch.setattr(planted, "PLANTED", truths)
    monkeypatch.delitem(made.CHANCE, "made_mc2")
    monkeypatch.chdir(tmp_path)
    parameters = write_study(tmp_path, kinds, has)
    space, shown = run_cells("5_analysis", parameters, monkeypatch)
    assert_words_and_numbers(shown)
    results = records.read(tmp_path, "5_analysis")["results"]
    said = [*results["conclusions"], *results["limits"]]
    assert said and all(sentence.strip() and "nan" not in sentence.split() for sentence in said)
    assert results["main_figure"] in {figure["name"] for figure in results["figures"]}
    tested = [claim["holds"] is not None for claim in results["claims"]]
    assert all(tested) and bool(tested) == ("claims" in has)
    assert set(space["truths"].get("task", ())) == set(made.PLANTED if "planted" in kinds else ())
    assert space["trade"]["margin_points"] == 4.0
    page = page_of(tmp_path, parameters)
    assert "The analysis drew no conclusion" not in page and "names no main figure" not in page
    assert "nan" not in page.split() and "None" not in page.split()

    if len(kinds) == 1:
        given = {"studies": [str(tmp_path)], "record_dir": str(tmp_path / "models")}
        assert_words_and_numbers(run_cells("7_models", given, monkeypatch)[1])


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_tasks_missing_at_some_widths_are_spoken_of_where_they_were_measured(
    tmp_path, monkeypatch, unrendered
):
    """Among them an instruction task at its floor where no knowledge was evaluated, documents of
    one cluster next to a trivial baseline, and two ratios that are printed alike."""
    monkeypatch.chdir(tmp_path)
    names = ("made_knowledge", "made_sums", "made_instructions", "made_text")
    knowledge, sums, instructions, text = (
        next(task for task in made.TASKS if task["name"] == name) for name in names
    )

    def at_its_floor(name, table):
        if name == "made_sums":
            return table
        of = [column for column in table if column.startswith("permuted:")]
        return table.assign(**{column: table[column[len("permuted:") :]] for column in of})

    def in_one_cluster(name, table):
        return table.assign(cluster="a") if name == "made_sums" else table

    here = {0.0: names, 0.2: ("made_sums", "made_instructions", "made_text"), 0.4: names[:1]}
    here |= {0.4001: names[:1] + names[2:], 0.6: ("made_knowledge", "made_sums")}
    tasks = [knowledge, sums, instructions, text]
    for ratio, wanted in here.items():
        made.write_evaluation(
            tmp_path, "ppm", ratio, 60, tasks=[task for task in tasks if task["name"] in wanted],
            change_table=at_its_floor if ratio == 0.2 else None,
        )  # fmt: skip
    made.write_evaluation(tmp_path, "floor-constant", 0.0, 60, tasks=tasks[:2], floor=False)
    parameters = write_study(tmp_path / "aside", ["choice"], frozenset()) | {"tasks": tasks}
    space, shown = run_cells("5_analysis", parameters, monkeypatch)
    assert_words_and_numbers(shown)
    said = " ".join([*space["sentences"], *space["task_sentences"]])
    assert (
        "2 of 4 tasks evaluated), made_knowledge and made_sums are worse" in said
        and "20-60%" not in said
    )
    assert "instruction score is not above its baseline at 20% removed" in said
    assert [*space["floors"]].count("40%") == 2

    for run, ratio in (("ppm", 0.0), ("ppm", 0.2), ("floor-constant", 0.0)):
        made.write_evaluation(
            tmp_path / "b", run, ratio, 60, tasks=tasks[:2], floor=False,
            change_table=in_one_cluster,
        )  # fmt: skip
    parameters |= {"record_dir": "b", "tasks": tasks[:2]}
    space, shown = run_cells("5_analysis", parameters, monkeypatch)
    assert_words_and_numbers(shown)
    assert set(space["responders"]["task"]) == {"made_knowledge"}
    assert "made_sums exact_match has documents of one cluster only" in space["missing"][0]


def test_tables_and_figures_of_claims_do_not_outlive_the_claims(tmp_path, monkeypatch, unrendered):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables" / "mine.csv").write_text("a table of the reader's own")
    parameters = write_study(tmp_path, ["choice"], ALL)
    for claims in (parameters["claims"], []):
        run_cells("5_analysis", parameters | {"claims": claims}, monkeypatch)
        written = {path.relative_to(tmp_path).as_posix() for folder in ("tables", "figures")
                   for path in (tmp_path / folder).iterdir()}  # fmt: skip
        named = {*records.read(tmp_path, "5_analysis")["files"]}
        assert written - named == {"tables/mine.csv"} and ("tables/claims.csv" in named) == bool(
            claims
        )


def assert_words_and_numbers(shown: list) -> None:
    """What was displayed: no blank text, no table without rows, no figure without numbers."""
    assert any(isinstance(each, plots.Figure) for each in shown)
    for each in shown:
        if isinstance(each, Markdown):
            assert each.data.strip() and "nan" not in each.data.split(), each.data
        elif isinstance(each, plots.Figure):
            assert len(each.table) and "nan" not in each.alt.split()
        else:
            assert isinstance(each, pd.DataFrame) and len(each)
            assert "nan" not in each.to_string().split()


@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.parametrize("name,metric", [
    ("bench_text", "word_perplexity"), ("bench_null", "acc"), ("bench_truthfulness_mc2", "acc"),
    ("bench_arithmetic", "exact_match"),
])  # fmt: skip
def test_one_task_alone_is_evaluated(name, metric, tmp_path, monkeypatch, unrendered):
    task = {"name": name, "num_fewshot": 0, "metric": metric, "filter": "none", "axis": "any"}
    given = {
        "model": "bench-small", "tasks": [task], "pruning_ratio": 0.0, "floors": [],
        "subset": {"n": 6, "seed": 0}, "record_dir": str(tmp_path),
    }  # fmt: skip
    space, shown = run_cells("3_evaluation", given, monkeypatch)
    texts = [each for each in shown if isinstance(each, Markdown)]
    assert all(text.data.strip() and "nan" not in text.data.split() for text in texts)
    perplexity = metric == "word_perplexity"
    assert any("No task of this study is scored in points" in t.data for t in texts) == perplexity
    assert (space["figure"] is None) == perplexity
    assert name in " ".join(space["conclusions"])
    assert records.read(tmp_path, space["key"])["results"]["conclusions"] == space["conclusions"]


@pytest.mark.parametrize("kind", ["perplexity", pytest.param("planted", marks=pytest.mark.slow)])
def test_a_study_of_one_kind_of_task_is_analysed_in_full(kind, tmp_path):
    parameters = write_study(tmp_path, [kind], ALL)
    papermill.execute_notebook(
        NOTEBOOKS / "5_analysis.ipynb", tmp_path / "5_analysis.ipynb", parameters, cwd=tmp_path,
        progress_bar=False,
    )  # fmt: skip
    results = records.read(tmp_path, "5_analysis")["results"]
    assert results["main_figure"] == {"perplexity": "perplexity", "planted": "changes"}[kind]
    assert Image.open(tmp_path / "figures" / f"{results['main_figure']}.png").width > 500
    assert "<img" in page_of(tmp_path, parameters)
