"""Killed in the middle of a task; two widths on one task; the same responses scored again."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from toy_tasks import spec, write_tasks

from ppmlib.evaluation import harness
from ppmlib.evaluation.run import evaluate
from ppmlib.model import models
from ppmlib.model.quiet import quiet_libraries
from ppmlib.prune import kept_neurons, slicing
from ppmlib.study_file.selection import Selection

SPECS = [spec("toy_choice", "acc"), spec("toy_generate", "exact_match", "first-word")]
SETTINGS = {
    "run": "ppm/r0.40",
    "kept_inputs": {"keep_sha256": "a"},
    "batch_size": 4,
    "add_bos_token": True,
    "floors": [],
}
# A model that hangs in its second task, once it has told that the first one is finished.
HANGING = """
import sys, time
from pathlib import Path
from ppmlib.model import models
from ppmlib.evaluation.run import evaluate
from ppmlib.evaluation import harness
from ppmlib.model.quiet import quiet_libraries
from ppmlib.study_file.selection import Selection
from test_resume_and_widths import SETTINGS, SPECS

def hang(self, requests, disable_tqdm=True):
    print("in the second task", flush=True)
    time.sleep(600)

harness.RecordingLM.generate_until = hang
evaluate(models.load(sys.argv[1], device="cpu"), SPECS, root=Path(sys.argv[2]),
         task_folders=[Path(sys.argv[3])], **SETTINGS)
"""


def model_name() -> str:
    data = os.environ.get("PPMLIB_TEST_DATA")
    return f"{data}/models/stories260K" if data else "bench"


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return write_tasks(tmp_path_factory.mktemp("toy"))


def evaluated(loaded, folder, root, specs=SPECS, **changes):
    return evaluate(loaded, specs, root=root, task_folders=[folder], **(SETTINGS | changes))


def test_killed_in_the_middle_of_a_task_the_finished_one_is_kept_and_the_numbers_are_the_same(
    folder, tmp_path
):
    command = [sys.executable, "-c", HANGING, model_name(), tmp_path / "killed", folder]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout.readline() == "in the second task\n"
        time.sleep(0.2)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    loaded = models.load(model_name(), device="cpu")
    resumed = evaluated(loaded, folder, tmp_path / "killed")
    assert resumed.reused == ["toy_choice"]
    quiet = evaluated(loaded, folder, tmp_path / "quiet")
    assert quiet.reused == [] and resumed.results() == quiet.results()
    for name, table in quiet.samples.items():
        assert resumed.samples[name].equals(table)


def test_two_widths_share_no_outcome_of_the_same_task(folder, tmp_path):
    """Each gives what lm-eval alone gives for its weights: a cache keyed by prompts would not."""
    from lm_eval import simple_evaluate
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    entry, found = SPECS[0], {}
    for ratio in (0.0, 0.5):
        loaded = models.load(model_name(), device="cpu")
        kept = kept_neurons.choose_neurons(loaded.model, Selection(pruning_ratio=ratio))
        slicing.slice_mlps(loaded.model, kept.keep)
        ours = evaluated(
            loaded,
            folder,
            tmp_path,
            [entry],
            run=kept.run,
            kept_inputs={"keep_sha256": kept.keep_sha256},
        )
        with quiet_libraries():
            lm = HFLM(loaded.model, tokenizer=loaded.tokenizer, batch_size=4, add_bos_token=True)
            plain = simple_evaluate(
                model=lm,
                tasks=[entry["name"]],
                num_fewshot=0,
                task_manager=TaskManager(include_path=str(folder), include_defaults=False),
            )
        logged = {e["doc_id"]: e["filtered_resps"] for e in plain["samples"][entry["name"]]}
        ours_acc = ours.samples[entry["name"]].set_index("doc_id")["acc,none"].to_dict()
        assert ours_acc == {e["doc_id"]: e["acc"] for e in plain["samples"][entry["name"]]}
        assert not ours.reused
        found[ratio] = [round(score, 6) for d in sorted(logged) for score, _ in logged[d]]
    # Not one log-likelihood of the two widths is the same.
    assert not set(found[0.0]) & set(found[0.5])


def test_the_same_ifeval_response_scored_twenty_times_has_one_score(folder, tmp_path, monkeypatch):
    """langdetect draws at random unless seeded: unseeded it tells this text as es, fr or nl."""
    import langdetect
    import nltk

    if "PPMLIB_TEST_DATA" not in os.environ:
        pytest.skip("needs nltk's punkt_tab: set PPMLIB_TEST_DATA")
    stored = f"{os.environ['PPMLIB_TEST_DATA']}/data/nltk_data"
    monkeypatch.setattr(nltk.data, "path", [stored])
    from lm_eval.tasks.ifeval import utils

    doc = {
        "key": 0,
        "instruction_id_list": ["language:response_language"],
        "prompt": "Answer in French.",
        "kwargs": [{"language": "fr"}],
    }
    response = "je suis de la no in man on der"
    evaluated(models.load(model_name(), device="cpu"), folder, tmp_path, [SPECS[0]])
    assert langdetect.DetectorFactory.seed is None
    with harness.seeded((0, 1234, 1234)):
        scores = [utils.process_results(doc, [response]) for _ in range(20)]
        assert langdetect.DetectorFactory.seed == 0
    assert langdetect.DetectorFactory.seed is None
    assert all(score == scores[0] for score in scores)
