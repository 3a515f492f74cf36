"""Notebook 5 on a made-up study: it runs, and its record holds what the index page reads."""

from pathlib import Path

import made_records as made
import papermill
import pytest

from ppmlib.analyse import sources
from ppmlib.record import records
from ppmlib.record.records import RecordError

NOTEBOOK = Path(__file__).parents[1] / "notebooks" / "5_analysis.ipynb"
CLAIM = {"task": "made_knowledge", "pruning_ratio": 0.4, "direction": "worse", "margin_points": 0}


@pytest.fixture(scope="module")
def record(tmp_path_factory):
    root = made.write_study(tmp_path_factory.mktemp("study"), ratios=(0.2, 0.4), n=120)
    parameters = {
        "study": "made", "question": "Does it run?", "model": "made", "tasks": made.TASKS,
        "claims": [CLAIM], "planted": False, "draft": True, "record_dir": ".",
    }  # fmt: skip
    papermill.execute_notebook(
        NOTEBOOK, root / "5_analysis.ipynb", parameters, cwd=root, progress_bar=False
    )
    return root, records.read(root, "5_analysis")


def test_the_record_holds_what_pages_and_readers_need(record):
    root, written = record
    results = written["results"]
    assert results["study"] == "made" and results["draft"] and results["synthetic"]
    assert len(results["verdicts"]) == len({(r["run"], r["task"], r["metric"])
                                            for r in results["verdicts"]})  # fmt: skip
    assert results["claims"][0]["holds"] is True and "holds" in results["claims"][0]["sentence"]
    assert results["main_figure"] in {figure["name"] for figure in results["figures"]}
    for figure in results["figures"]:
        assert (root / "figures" / f"{figure['name']}.png").is_file()
        assert (root / "tables" / f"{figure['name']}.csv").is_file()
    assert results["conclusions"] and results["limits"] and results["missing"] == []
    assert {"tables/verdicts.csv", "tables/verdicts.tex", "tables/scores.csv"} <= set(
        written["files"]
    )
    assert set(written["inputs"]["upstream"]) >= {
        f"{sources.DENSE}/3_evaluation",
        "ppm/4_profiling",
    }


def test_nothing_of_this_machine_reaches_the_record(record):
    root, _ = record
    text = records.record_path(root, "5_analysis").read_text()
    assert str(root) not in text and str(Path.home()) not in text.replace('"/root"', "")


def test_a_bare_analysis_reads_the_example_or_says_that_there_is_none(monkeypatch, tmp_path):
    monkeypatch.setattr(sources.resources, "files", lambda package: tmp_path / "ppmlib")
    with pytest.raises(RecordError, match="no example records"):
        sources.example_dir()
    made.write_evaluation(tmp_path / "ppmlib" / "example", "ppm", 0.0, 5, tasks=made.TASKS[:1])
    assert sources.example_dir() == tmp_path / "ppmlib" / "example"
