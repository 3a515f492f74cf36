from pathlib import Path

from small_study import write_study

from ppmlib.record import evaluation_records, records
from ppmlib.study_file.params import Study
from ppmlib.workflow import estimate, plan

PARAMS = Path(__file__).parents[1] / "params"


def told(path: Path, root: Path) -> list[str]:
    study = Study.load(path)
    planned = plan.build(study, path, root, fetch=False)
    missing = {key for key in planned["jobs"] if not records.record_path(root, key).exists()}
    return estimate.describe_run(study, path, planned, root, missing)


def test_the_paper_s_study_is_told_in_documents_and_its_time_is_not_known(tmp_path):
    total, engine, time = told(PARAMS / "llama-3.2-1b.yaml", tmp_path)
    assert engine == "engine: plain"
    per_run = 62 + 5153 + 14042 + 1172 + 10042 + 1267 + 1838 + 3270 + 2 * 817 + 1319 + 541 + 756
    assert total == f"7 runs, 13 tasks, 91 evaluations: {7 * per_run:,} documents"
    assert time == "time: not known before a first evaluation is finished"


def test_a_quick_study_says_draft_and_counts_its_subset_first(tmp_path):
    total, *_ = told(PARAMS / "llama-3.2-1b-quick.yaml", tmp_path)
    assert total.startswith("DRAFT, 100 documents per task: 7 runs")
    assert total.endswith(f": {7 * (62 + 12 * 100):,} documents")


def test_finished_records_give_sizes_and_time_and_a_model_here_its_size(tmp_path):
    path, root = write_study(tmp_path), tmp_path / "reports"
    total, model, engine, time = told(path, root)
    assert engine == "engine: fast"
    assert total.startswith("DRAFT, 30") and total.endswith("documents not counted yet")
    assert model.startswith("model: ") and " GB in float32, read once per notebook" in model
    names = [task.name for task in Study.load(path).tasks]
    record = {"tasks": {name: {"n": 30} for name in names}}
    measured = {"seconds_per_task": dict.fromkeys(names, 60.0), "reused_tasks": []}
    key = evaluation_records.key(evaluation_records.DENSE)
    records.write(root, key, inputs={}, results=record, measured=measured)
    total, *_, time = told(path, root)
    assert total.endswith(": 180 documents")
    assert time == "left: 4 of 6 tasks of runs, about 4:00 of evaluation one after another"
