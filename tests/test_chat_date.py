import os

import pytest
from toy_tasks import spec, write_tasks

from ppmlib import models
from ppmlib.evaluation import evaluate

TEMPLATE = (
    "{%- if not date_string is defined %}{%- set date_string = strftime_now('%d %b %Y') %}"
    "{%- endif %}{{ 'Today: ' + date_string }} {% for m in messages %}{{ m['content'] }}"
    "{% endfor %}"
)


@pytest.mark.parametrize("engine", ["plain", "fast"])
def test_a_template_that_writes_the_day_writes_the_same_one_every_day(tmp_path, engine):
    data = os.environ.get("PPMLIB_TEST_DATA")
    loaded = models.load(f"{data}/models/stories260K" if data else "bench", device="cpu")
    loaded.tokenizer.chat_template = TEMPLATE
    found = evaluate(
        loaded,
        [spec("toy_choice", "acc")],
        root=tmp_path,
        run="dense/r0.00",
        kept_inputs={},
        batch_size=4,
        add_bos_token=True,
        apply_chat_template=True,
        engine=engine,
        task_folders=[write_tasks(tmp_path / "toy")],
    )
    assert found.tasks["toy_choice"]["first_prompt"].startswith("Today: 26 Jul 2024 Question:")
    assert found.inputs["settings"]["chat_date"] == "26 Jul 2024"
