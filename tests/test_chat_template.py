"""What a chat template writes of its own: the day, and the BOS."""

import os

import pytest
from toy_tasks import spec, write_tasks

from ppmlib.evaluation.run import evaluate
from ppmlib.model import models

TEMPLATE = (
    "{%- if not date_string is defined %}{%- set date_string = strftime_now('%d %b %Y') %}"
    "{%- endif %}{{ 'Today: ' + date_string }} {% for m in messages %}{{ m['content'] }}"
    "{% endfor %}"
)


def evaluated(loaded, folder, engine, *tasks, bos=True, chat=True):
    """The evaluation of toy tasks with these settings."""
    return evaluate(
        loaded,
        list(tasks),
        root=folder,
        run="dense/r0.00",
        kept_inputs={},
        batch_size=4,
        add_bos_token=bos,
        apply_chat_template=chat,
        engine=engine,
        task_folders=[write_tasks(folder / "toy")],
        floors=[],
    )


@pytest.mark.parametrize("engine", ["plain", "fast"])
def test_a_template_that_writes_the_day_writes_the_same_one_every_day(tmp_path, engine):
    data = os.environ.get("PPMLIB_TEST_DATA")
    loaded = models.load(f"{data}/models/stories260K" if data else "bench", device="cpu")
    loaded.tokenizer.chat_template = TEMPLATE
    found = evaluated(loaded, tmp_path, engine, spec("toy_choice", "acc"))
    assert found.tasks["toy_choice"]["first_prompt"].startswith("Today: 26 Jul 2024 Question:")
    assert found.inputs["settings"]["chat_date"] == "26 Jul 2024"


@pytest.mark.parametrize(("bos", "chat"), [(b, c) for b in (True, False) for c in (True, False)])
@pytest.mark.parametrize("engine", ["plain", "fast"])
def test_a_template_that_writes_the_bos_gives_one_whatever_the_study_says(
    tmp_path, engine, bos, chat
):
    loaded = models.load("bench-small", device="cpu")
    loaded.tokenizer.chat_template = "{{ bos_token }}" + TEMPLATE
    tasks = [spec("toy_choice", "acc"), spec("toy_generate", "exact_match", "first-word")]
    found = evaluated(loaded, tmp_path, engine, *tasks, bos=bos, chat=chat)
    assert {tuple(task["bos"]) for task in found.tasks.values()} == {(int(bos or chat),)}
