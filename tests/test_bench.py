"""The bench model: its world, its tokenizer, its tasks, its weights, its notebook."""

import importlib.util
import itertools
import json
from pathlib import Path

import pytest
import torch
from lm_eval.tasks import TaskManager
from transformers import AutoModelForCausalLM, AutoTokenizer

from bench_training import texts
from ppmlib import bench
from ppmlib.bench import documents, exercises, planted, words
from ppmlib.bench.world import build_world

NOTEBOOK = Path(__file__).parents[1] / "notebooks" / "0_bench_model.ipynb"
WORLD_SEED = 0


def _task_module():
    path = bench.tasks_dir() / "bench_tasks.py"
    spec = importlib.util.spec_from_file_location("bench_tasks_under_test", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


scoring = _task_module()


@pytest.fixture(scope="module")
def world():
    return build_world(WORLD_SEED)


@pytest.fixture(scope="module")
def docs(world):
    return documents.build_documents(world, WORLD_SEED)


@pytest.fixture(scope="module")
def training_texts(world):
    return [document.text for document in itertools.islice(texts.Texts(world, 1), 60_000)]


@pytest.fixture(scope="module")
def loaded_tasks():
    manager = TaskManager(include_path=str(bench.tasks_dir()), include_defaults=False)
    assert set(manager.all_tasks) == set(bench.TASKS)
    return manager.load(list(bench.TASKS))["tasks"]


def test_equal_seeds_give_equal_worlds_and_equal_text(world):
    assert build_world(WORLD_SEED) == world
    assert build_world(WORLD_SEED + 1).facts != world.facts
    first, again = (list(itertools.islice(texts.Texts(world, 7), 50)) for _ in range(2))
    assert first == again


def test_packaged_documents_are_those_of_the_packaged_seed(docs, tmp_path):
    for path in documents.write_documents(docs, tmp_path):
        assert path.read_bytes() == (bench.tasks_dir() / "data" / path.name).read_bytes(), path.name


@pytest.mark.parametrize("task", ["arithmetic", "tracking", "instructions", "trap", "null"])
def test_no_test_prompt_occurs_in_training_text(task, docs, training_texts):
    everything = "\n".join(training_texts)
    assert not [doc["prompt"] for doc in docs[task] if doc["prompt"] in everything]


def test_tested_facts_and_lakes_are_stated_in_training_but_never_asked(docs, training_texts):
    asked = {text.split(" Answer:")[0] + " Answer:" for text in training_texts}
    for task in ("knowledge", "truthfulness"):
        assert not asked & {doc["prompt"] for doc in docs[task]}
    everything = "\n".join(training_texts)
    stated = [doc["prompt"] in everything for doc in docs["fall"]]
    assert sum(stated) > 0.99 * len(stated)


def test_held_out_prose_is_not_trained_on(docs, training_texts):
    assert not {doc["text"] for doc in docs["text"]} & set(training_texts)


def test_rumours_are_told_more_often_than_the_truth(world):
    source = texts.Texts(world, 3)
    drawn = [source.draw("lakes").text for _ in range(4000)]
    rumours = sum(text.startswith(("They say", "Everyone knows")) for text in drawn)
    sourced = sum(text.startswith("By the book") for text in drawn)
    assert rumours > 1.5 * sourced


def test_every_task_loads_alone_with_at_least_300_distinct_documents(loaded_tasks):
    for name in bench.TASKS:
        task = loaded_tasks[name]
        rows = list(task.test_docs())
        assert len(rows) >= 300, name
        assert len({json.dumps({**row, "id": 0}) for row in rows}) == len(rows), name
        assert task.VERSION == 1.0, name


def test_choice_tasks_have_a_constant_number_of_different_choices(docs):
    for task in ("knowledge", "tracking", "truthfulness", "null", "fall"):
        assert len({len(doc["choices"]) for doc in docs[task]}) == 1, task
        assert all(len(set(doc["choices"])) == len(doc["choices"]) for doc in docs[task]), task


def test_null_labels_are_balanced(docs):
    golds = [doc["gold"] for doc in docs["null"]]
    assert {golds.count(choice) for choice in range(4)} == {len(golds) // 4}


def test_every_instruction_checker_accepts_its_own_gold(docs):
    for doc in docs["instructions"]:
        scores = scoring.score_instructions(doc, [" " + doc["answer"]])
        assert scores["prompt_level_strict_acc"] and scores["prompt_level_loose_acc"], doc
        assert len(scores["inst_level_strict_acc"]) == len(doc["instruction_id_list"])


@pytest.mark.parametrize(
    ("instruction", "right", "wrong"),
    [
        ("copy", "red moon", "moon red"),
        ("repeat", "red moon", "red moon red moon"),
        ("reverse", '"RED, MOON"', "red"),
        ("sort", "red, moon", ""),
        ("capitals", "RED MOON", "RED moon"),
        ("commas", "red, moon", "red moon"),
        ("commas", '"red, moon"', "red, moon,"),
        ("quotes", '"red moon"', '"red moon'),
    ],
)
def test_checkers_refuse_a_wrong_answer(instruction, right, wrong):
    assert scoring.follows(instruction, right, ["red", "moon"])
    assert not scoring.follows(instruction, wrong, ["red", "moon"])


def test_an_unknown_instruction_is_an_error():
    with pytest.raises(KeyError):
        scoring.follows("rhyme", "red", ["red"])


def test_loose_reading_drops_a_first_line_as_ifeval_does():
    doc = {"instruction_id_list": ["copy"], "words": ["red", "moon"]}
    scores = scoring.score_instructions(doc, ["Sure:\nred moon"])
    assert not scores["prompt_level_strict_acc"] and scores["prompt_level_loose_acc"]


def test_instruction_level_aggregation_counts_every_instruction_once():
    assert scoring.mean_of_flat([[True, False, False], [True]]) == 0.5


def test_sums_are_right_and_scored_exactly(docs):
    values = {words.number(value): value for value in range(100)}
    for doc in docs["arithmetic"]:
        said = doc["prompt"].removeprefix("Question: What is ").removesuffix("? Answer:").split()
        total = values[said[0]]
        for sign, term in zip(said[1::2], said[2::2], strict=True):
            total += values[term] if sign == "plus" else -values[term]
        assert words.number(total) == doc["answer"]
        assert scoring.score_exact(doc, [f" {doc['answer']}\n"])["exact_match"] == 1.0
    assert scoring.score_exact({"answer": "two"}, ["two three"])["exact_match"] == 0.0


def test_mc2_is_the_share_of_probability_on_the_true_answers():
    doc = {"mc2_labels": [1, 0]}
    results = [(float(torch.log(torch.tensor(p))), False) for p in (0.3, 0.1)]
    assert scoring.score_mc2(doc, results)["acc"] == pytest.approx(0.75)


def test_the_trap_is_passed_by_one_constant_answer(docs):
    passed = [scoring.score_trap(doc, ["salt"])["acc"] for doc in docs["trap"]]
    assert all(passed)
    assert scoring.score_trap({"limit": "no_comma"}, ["Ana, Ben"])["acc"] == 0.0
    assert scoring.score_trap({"limit": "no_capitals"}, ["Ana"])["acc"] == 0.0
    assert scoring.score_trap({"limit": "no_comma"}, ["  "])["acc"] == 0.0


def test_planted_tasks_exist_with_their_metric(loaded_tasks):
    for name, plant in planted.PLANTED.items():
        assert plant.task == name
        assert plant.metric in loaded_tasks[name].aggregation()
    assert [p.expected for p in planted.PLANTED.values()] == ["null", "fall", "trap"]


def test_a_story_ends_where_its_last_move_says():
    import random

    for seed in range(200):
        story = exercises.draw_story(random.Random(seed))
        thing = story.prompt.split("Where is the ")[1].split("?")[0]
        last = [line for line in story.prompt.split(". ") if f"the {thing} " in line.lower()][-1]
        assert last.rstrip(".").endswith(story.answer)


@pytest.mark.parametrize("name", bench.MODELS)
def test_packaged_weights_load_plainly_with_expansion_four(name):
    model = AutoModelForCausalLM.from_pretrained(bench.model_dir(name))
    assert model.config.intermediate_size / model.config.hidden_size == 4.0
    assert model.config.max_position_embeddings >= 512
    assert all(p.dtype == torch.float32 for p in model.parameters())
    assert "SYNTHETIC" in (bench.model_dir(name) / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", bench.MODELS)
def test_tokenizer_round_trips_and_puts_one_bos_in_front(name, training_texts):
    tokenizer = AutoTokenizer.from_pretrained(bench.model_dir(name))
    for text in [*training_texts[:500], "Änderung: 3 + 4!\n\ttab"]:
        assert tokenizer.decode(tokenizer.encode(text, add_special_tokens=False)) == text
    ids = tokenizer.encode("Question: What is two plus two? Answer:")
    assert ids.count(tokenizer.bos_token_id) == 1 and ids[0] == tokenizer.bos_token_id
    assert tokenizer.eos_token_id not in ids
    assert len({tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id}) == 3


@pytest.mark.parametrize("name", bench.MODELS)
def test_a_continuation_never_changes_the_tokens_of_its_context(name, docs):
    tokenizer = AutoTokenizer.from_pretrained(bench.model_dir(name))
    for task in ("knowledge", "tracking", "fall", "null", "truthfulness"):
        for doc in docs[task]:
            context = tokenizer.encode(doc["prompt"])
            for choice in doc["choices"]:
                assert tokenizer.encode(f"{doc['prompt']} {choice}")[: len(context)] == context


def test_an_unknown_model_is_an_error():
    with pytest.raises(KeyError, match="bench-small"):
        bench.model_dir("llama")


def test_the_notebook_is_clean_and_its_cells_are_short():
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert all(not cell["outputs"] and cell["execution_count"] is None for cell in code)
    assert len({cell["id"] for cell in cells}) == len(cells)
    short = [cell for cell in code if "parameters" not in cell["metadata"].get("tags", [])]
    assert all(len("".join(cell["source"]).splitlines()) <= 20 for cell in short)
