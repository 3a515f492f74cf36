"""Each task's own prompt format; chat templates around texts; BOS where a model wants one."""

import pytest
from small_study import KNOWLEDGE, TINY, write_study
from toy_tasks import spec, write_tasks

from ppmlib.evaluation.prompt_format import bos_warning, why_bos
from ppmlib.evaluation.run import evaluate
from ppmlib.model import models
from ppmlib.study_file.params import ParamsError, Study
from ppmlib.workflow import plan

TEMPLATE = "{% for m in messages %}<{{ m['role'] }}> {{ m['content'] }} {% endfor %}"


@pytest.fixture(scope="module")
def loaded():
    found = models.load("bench-small", device="cpu")
    found.tokenizer.chat_template = TEMPLATE
    return found


def run(loaded, folder, tasks, **settings):
    write_tasks(folder / "tasks")
    return evaluate(
        loaded,
        tasks,
        root=folder,
        run="r",
        kept_inputs={"keep_sha256": "a"},
        batch_size=2,
        task_folders=[folder / "tasks"],
        **{"add_bos_token": True, "floors": [], **settings},
    )


def test_a_task_has_its_own_format_and_its_record_says_so(loaded, tmp_path):
    own = {"apply_chat_template": True, "add_bos_token": False, "system_instruction": "Be brief."}
    choice, written = spec("toy_choice", "acc"), spec("toy_generate", "exact_match", "whole")
    found = run(loaded, tmp_path, [choice, {**written, **own}])
    plain, chat = found.tasks["toy_choice"], found.tasks["toy_generate"]
    assert "<user>" not in plain["first_prompt"] and plain["bos"] == [1]
    assert chat["first_prompt"].startswith("<system> Be brief. <user> ") and chat["bos"] == [0]
    inputs = found.inputs["tasks"]
    assert "apply_chat_template" not in inputs["toy_choice"]
    assert own.items() <= inputs["toy_generate"].items()
    assert len(inputs["toy_generate"]["chat_template_sha256"]) == 64

    # The study's own format, given again for a task, is the same record.
    same = run(loaded, tmp_path, [{**choice, "add_bos_token": True}, {**written, **own}])
    assert same.reused == ["toy_choice", "toy_generate"]
    other = run(loaded, tmp_path, [choice, {**written, **own, "system_instruction": "Be long."}])
    assert other.reused == ["toy_choice"]


def test_the_settings_of_one_task_do_not_reach_the_next(loaded, tmp_path):
    first = {**spec("toy_choice", "acc"), "add_bos_token": False}
    found = run(loaded, tmp_path, [first, spec("toy_generate", "exact_match", "whole")])
    assert [task["bos"] for task in found.tasks.values()] == [[0], [1]]


def test_a_text_inside_a_chat_template_is_refused_unless_the_study_insists(tmp_path):
    lambada = {"name": "lambada_openai", "num_fewshot": 0, "metric": "perplexity"}
    lambada["axis"] = "language"
    for extra, refused in (({}, True), ({"apply_chat_template": False}, False)):
        changes = {"tasks": [KNOWLEDGE, {**lambada, **extra}], "apply_chat_template": True}
        path = write_study(tmp_path, TINY, model={"id": "bench-small"}, **changes)
        if refused:
            with pytest.raises(ParamsError) as found:
                plan.build(Study.load(path), path, tmp_path / "reports")
            assert "tasks: lambada_openai: inside a chat template" in str(found.value)
            assert "apply_chat_template: false" in str(found.value)
        else:
            jobs = plan.build(Study.load(path), path, tmp_path / "reports")["jobs"]
            given = jobs["dense/r0.00/3_evaluation"]["parameters"]["tasks"]
            assert given[1]["apply_chat_template"] is False
            assert "apply_chat_template" not in given[0]


def test_a_missing_or_a_second_bos_is_told_with_its_reason(loaded):
    tokenizer = loaded.tokenizer
    assert why_bos(tokenizer, "llama", chat=False) == "the tokenizer adds one"
    tokenizer.chat_template = "{{ bos_token }}" + TEMPLATE
    assert why_bos(tokenizer, "llama", chat=True) == "the chat template writes one"
    tokenizer.chat_template = TEMPLATE

    reason = "the tokenizer adds one"
    assert bos_warning([0], reason) == "prompts start without a BOS, but the tokenizer adds one"
    assert bos_warning([1, 2], reason) == "prompts start with 2 BOS tokens"
    assert bos_warning([1], reason) is bos_warning([0], None) is bos_warning(None, reason) is None


def test_a_record_without_bos_warns_where_the_tokenizer_adds_one(loaded, tmp_path):
    found = run(loaded, tmp_path, [spec("toy_choice", "acc")], add_bos_token=False)
    warning = found.tasks["toy_choice"]["bos_warning"]
    assert warning == "prompts start without a BOS, but the tokenizer adds one"
