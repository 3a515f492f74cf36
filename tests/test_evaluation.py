"""Evaluation against lm-eval itself, on a small real model and toy tasks of every kind."""

import json
import math
import os
import random
import socket
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import real_documents
import torch
from toy_tasks import spec, write_tasks

from ppmlib import bench
from ppmlib.evaluation import harness, samples, tasks
from ppmlib.evaluation.protocol import subset_indices
from ppmlib.evaluation.run import EvaluationError, evaluate
from ppmlib.model import models
from ppmlib.model.quiet import quiet_libraries
from ppmlib.show import scorecard

CHOICE = spec("toy_choice", "acc")
GENERATE = spec("toy_generate", "exact_match", "first-word")
TEXT = spec("toy_text", "word_perplexity")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return write_tasks(tmp_path_factory.mktemp("toy"))


@pytest.fixture(scope="module")
def loaded():
    """A real pretrained model where the test data is, else the packaged bench model."""
    data = os.environ.get("PPMLIB_TEST_DATA")
    return models.load(f"{data}/models/stories260K" if data else "bench", device="cpu")


def run(loaded, specs, folder, root, **changes):
    settings = {
        "run": "ppm/r0.40",
        "kept_inputs": {"keep_sha256": "a"},
        "batch_size": 4,
        "add_bos_token": True,
        "task_folders": [folder],
    }
    return evaluate(loaded, specs, root=root, **(settings | changes))


def plain(loaded, name, folder, **arguments):
    """The same task through lm-eval alone."""
    from lm_eval import simple_evaluate
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    with quiet_libraries():
        lm = HFLM(pretrained=loaded.model, tokenizer=loaded.tokenizer, batch_size=4, **arguments)
        return simple_evaluate(
            model=lm,
            tasks=[name],
            num_fewshot=0,
            task_manager=TaskManager(include_path=str(folder), include_defaults=False),
            bootstrap_iters=1000,
        )


@pytest.mark.parametrize("entry", [CHOICE, GENERATE, spec("toy_last", "acc")])
def test_rows_are_those_of_plain_lm_eval(loaded, folder, tmp_path, entry):
    ours = run(loaded, [entry], folder, tmp_path, floors=[]).rows
    theirs = plain(loaded, entry["name"], folder, add_bos_token=True)["results"][entry["name"]]
    keys = {key for key in theirs if "," in key and "_stderr" not in key}
    assert keys == {f"{r.metric},{r.filter}" for r in ours.itertuples()}
    for row in ours.itertuples():
        assert row.value == theirs[f"{row.metric},{row.filter}"]
        assert row.stderr == theirs[f"{row.metric}_stderr,{row.filter}"]


def test_per_document_outcomes_are_those_of_plain_lm_eval(loaded, folder, tmp_path):
    table = run(loaded, [GENERATE], folder, tmp_path).samples["toy_generate"]
    logged = plain(loaded, "toy_generate", folder, add_bos_token=True)["samples"]["toy_generate"]
    for entry in logged:
        row = table.set_index("doc_id").loc[entry["doc_id"]]
        assert row["response"] == entry["resps"][0][0]
        assert row[f"exact_match,{entry['filter']}"] == entry["exact_match"]


def test_rolling_perplexity_is_lm_evals_with_one_bos(loaded, folder, tmp_path):
    ours = run(loaded, [TEXT], folder, tmp_path)
    one_bos = plain(loaded, "toy_text", folder, add_bos_token=False)["results"]["toy_text"]
    for row in ours.rows.itertuples():
        assert row.value == pytest.approx(one_bos[f"{row.metric},none"], rel=1e-9)
    assert ours.tasks["toy_text"]["first_token_ids"][:2].count(loaded.tokenizer.bos_token_id) == 1


def test_perplexities_follow_from_the_documents(loaded, folder, tmp_path):
    found = run(loaded, [TEXT], folder, tmp_path)
    table, rows = found.samples["toy_text"], found.rows.set_index("metric")
    log_likelihood = table["loglikelihood"].sum()
    word = math.exp(-log_likelihood / table["words"].sum())
    bits = -log_likelihood / table["bytes"].sum() / math.log(2)
    assert rows.loc["word_perplexity", "value"] == pytest.approx(word, rel=1e-12)
    assert rows.loc["bits_per_byte", "value"] == pytest.approx(bits, rel=1e-12)
    assert not rows.loc["word_perplexity", "higher_is_better"]


def test_a_task_that_counts_its_own_words_is_followed(loaded, folder, tmp_path):
    entry = spec("toy_pages", "word_perplexity")
    found = run(loaded, [entry, TEXT], folder, tmp_path)
    table = found.samples["toy_pages"]
    assert (table["words"] == 2 * found.samples["toy_text"]["words"] - 2).all()
    value = math.exp(-table["loglikelihood"].sum() / table["words"].sum())
    assert found.rows["value"].iloc[0] == pytest.approx(value, rel=1e-12)


def test_standard_error_of_a_perplexity_is_that_of_resampled_documents():
    generator = np.random.default_rng(0)
    words = generator.integers(5, 60, 400)
    table = pd.DataFrame({"words": words, "bytes": words * 5})
    table["loglikelihood"] = -words * generator.normal(3, 0.4, 400)
    _, stderr = samples.rolling_score("word_perplexity", table)
    picks = generator.integers(0, 400, (2000, 400))
    sums = table["loglikelihood"].to_numpy()[picks].sum(1), words[picks].sum(1)
    assert stderr == pytest.approx(np.exp(-sums[0] / sums[1]).std(), rel=0.1)


@pytest.mark.parametrize("name", ["toy_group", "toy_mean"])
def test_group_scores_come_from_documents_with_a_row_per_subtask(loaded, folder, tmp_path, name):
    found = run(loaded, [spec(name, "acc")], folder, tmp_path)
    rows = found.rows.set_index(["task", "metric"])
    table = found.samples[name]
    means = table.groupby("subtask")["acc,none"].mean()
    expected = table["acc,none"].mean() if name == "toy_group" else means.mean()
    assert rows.loc[(name, "acc"), "value"] == pytest.approx(expected, abs=1e-12)
    assert rows.loc[(name, "acc"), "n"] == 33 == len(table)
    assert rows.loc[("toy_left", "acc"), "value"] == means["toy_left"]
    assert rows.loc[("toy_left", "acc"), "group"] == name
    assert list(found.rows.loc[found.rows["headline"], "task"]) == [name]
    assert table["doc_id"].is_unique
    weights = (5, 28) if name == "toy_group" else (1, 1)
    chance = np.average([1 / 3, 1 / 2], weights=weights)
    assert rows.loc[(name, "acc"), "chance"] == pytest.approx(chance)


def test_a_score_its_documents_do_not_give_is_refused():
    with pytest.raises(EvaluationError, match="toy: acc,none: lm-eval says 0.5"):
        samples.check("toy: acc,none", 0.5, 0.4)
    with pytest.raises(EvaluationError, match="not a finite number"):
        samples.check("toy: word_perplexity,none", float("nan"), None)


def forbid(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("evaluated again")

    monkeypatch.setattr(harness, "run", refuse)


def test_a_second_call_evaluates_nothing_and_says_the_same(loaded, folder, tmp_path, monkeypatch):
    first = run(loaded, [CHOICE, GENERATE], folder, tmp_path)
    forbid(monkeypatch)
    second = run(loaded, [CHOICE, GENERATE], folder, tmp_path)
    assert second.reused == ["toy_choice", "toy_generate"] and not first.reused
    assert second.results() == first.results() and second.inputs == first.inputs
    for name, table in first.samples.items():
        pd.testing.assert_frame_equal(table, second.samples[name])


@pytest.mark.parametrize(
    "change",
    [
        {"kept_inputs": {"keep_sha256": "b"}},
        {"batch_size": 3},
        {"max_length": 300},
        {"add_bos_token": False},
        {"lm_eval_seeds": (1, 2, 3, 4)},
        {"subset": {"n": 5, "seed": 0}},
        {"dtype": "bfloat16"},
        {"weights_sha256": "other"},
    ],
)
def test_what_can_change_numbers_is_evaluated_again(loaded, folder, tmp_path, monkeypatch, change):
    run(loaded, [CHOICE], folder, tmp_path)
    forbid(monkeypatch)
    identity = {k: v for k, v in change.items() if k in loaded.identity}
    other = replace(loaded, identity=loaded.identity | identity)
    with pytest.raises(AssertionError, match="evaluated again"):
        run(
            other, [CHOICE], folder, tmp_path, **{k: change[k] for k in change if k not in identity}
        )


def test_the_models_name_changes_no_number(loaded, folder, tmp_path, monkeypatch):
    run(loaded, [CHOICE], folder, tmp_path)
    forbid(monkeypatch)
    renamed = replace(loaded, identity=loaded.identity | {"id": "copy"})
    assert run(renamed, [CHOICE], folder, tmp_path).reused == ["toy_choice"]


def test_a_changed_document_or_definition_is_evaluated_again(loaded, tmp_path, monkeypatch):
    own = write_tasks(tmp_path / "tasks")
    run(loaded, [CHOICE], own, tmp_path)
    yaml = own / "toy_choice.yaml"
    yaml.write_text(yaml.read_text().replace("Question:", "Ask:"))
    forbid(monkeypatch)
    with pytest.raises(AssertionError, match="evaluated again"):
        run(loaded, [CHOICE], own, tmp_path)


def test_widths_share_nothing(loaded, folder, tmp_path):
    run(loaded, [CHOICE], folder, tmp_path)
    other = run(
        loaded, [CHOICE], folder, tmp_path, run="ppm/r0.20", kept_inputs={"keep_sha256": "b"}
    )
    again = run(loaded, [CHOICE], folder, tmp_path)
    assert not other.reused and again.reused == ["toy_choice"]


def test_a_killed_job_goes_on_with_the_task_it_was_in(loaded, folder, tmp_path, monkeypatch):
    real, seen = harness.run, []

    def dies_at_the_second(lm, task, **keywords):
        seen.append(task.name)
        if len(seen) == 2:
            raise KeyboardInterrupt
        return real(lm, task, **keywords)

    monkeypatch.setattr(harness, "run", dies_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        run(loaded, [CHOICE, TEXT], folder, tmp_path)
    found = run(loaded, [CHOICE, TEXT], folder, tmp_path)
    assert seen == ["toy_choice", "toy_text", "toy_text"]
    assert found.reused == ["toy_choice"]


def test_a_damaged_file_is_evaluated_again(loaded, folder, tmp_path):
    first = run(loaded, [CHOICE], folder, tmp_path)
    parquet = tmp_path / "samples/ppm/r0.40/toy_choice.parquet"
    parquet.write_bytes(parquet.read_bytes()[:-1])
    second = run(loaded, [CHOICE], folder, tmp_path)
    assert not second.reused and second.results() == first.results()


def test_no_path_host_or_date_reaches_a_file(loaded, folder, tmp_path):
    found = run(loaded, [CHOICE, GENERATE], folder, tmp_path)
    for file in [*found.files, tmp_path / "samples/ppm/r0.40/toy_choice.json"]:
        content = file.read_bytes().decode("utf-8", errors="replace")
        for secret in (str(tmp_path), str(folder), str(Path.home()), socket.gethostname()):
            assert secret not in content, (file.name, secret)
    plain_results = json.loads((tmp_path / "samples/ppm/r0.40/toy_choice.lm-eval.json").read_text())
    assert {"results", "configs", "versions", "n-shot", "config"} <= set(plain_results)
    assert "date" not in plain_results
    assert plain_results["results"]["toy_choice"]["acc,none"] == found.rows["value"].iloc[0]


def test_it_prints_nothing(loaded, folder, tmp_path, capfd):
    capfd.readouterr()
    lines = []
    run(loaded, [CHOICE, GENERATE, TEXT], folder, tmp_path, progress=lambda *a: lines.append(a[:3]))
    assert "".join(capfd.readouterr()) == ""
    assert lines == [("toy_choice", 1, 3), ("toy_generate", 2, 3), ("toy_text", 3, 3)]


def test_global_random_states_are_left_alone(loaded, folder, tmp_path):
    random.seed(7), np.random.seed(7), torch.manual_seed(7)
    before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    run(loaded, [CHOICE], folder, tmp_path)
    after = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    assert before == after


def test_the_batch_size_is_the_one_run_and_recorded(loaded, folder, tmp_path):
    found = run(loaded, [CHOICE, GENERATE], folder, tmp_path, batch_size=3)
    assert {task["largest_batch"] for task in found.tasks.values()} == {3}
    assert found.inputs["settings"]["batch_size"] == 3


def test_response_lengths_and_endings_are_those_of_the_generated_tokens(loaded, folder, tmp_path):
    table = run(loaded, [GENERATE], folder, tmp_path, batch_size=1).samples["toy_generate"]
    tokenizer = loaded.tokenizer
    for row, prompt in zip(table.itertuples(), table["prompt_end"], strict=True):
        ids = tokenizer(prompt, return_tensors="pt").input_ids
        with torch.no_grad():
            new = loaded.model.generate(
                ids, max_new_tokens=12, do_sample=False, pad_token_id=tokenizer.eos_token_id
            )[0, ids.shape[1] :]
        texts = [tokenizer.decode(new[: i + 1]) for i in range(len(new))]
        end = next((i + 1 for i, text in enumerate(texts) if "." in text), None)
        assert row.stopped == (end is not None)
        assert row.response_tokens == (end or len(new))
        assert row.response == texts[-1].split(".")[0]
    assert table["stopped"].any()


def with_bos_template(loaded, template):
    """The same tokenizer, putting other special tokens before a text."""
    from copy import deepcopy

    from tokenizers import processors

    tokenizer = deepcopy(loaded.tokenizer)
    bos = (tokenizer.bos_token, tokenizer.bos_token_id)
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single=template.format(bos=bos[0]), special_tokens=[bos]
    )
    return replace(loaded, tokenizer=tokenizer)


@pytest.mark.parametrize(("template", "count"), [("$A", 0), ("{bos} {bos} $A", 2)])
@pytest.mark.parametrize("entry", [CHOICE, GENERATE])
def test_no_bos_or_two_where_one_is_asked_for_is_an_error(
    loaded, folder, tmp_path, template, count, entry
):
    wrong = with_bos_template(loaded, template)
    with pytest.raises(EvaluationError, match=f"{entry['name']}: prompts start with {count} BOS"):
        run(wrong, [entry], folder, tmp_path)
    assert not list(tmp_path.rglob("*.parquet"))


def test_without_bos_prompts_have_none(loaded, folder, tmp_path):
    found = run(loaded, [CHOICE], folder, tmp_path, add_bos_token=False)
    assert found.tasks["toy_choice"]["bos"] == [0]
    assert found.tasks["toy_choice"]["first_token_ids"][0] != loaded.tokenizer.bos_token_id


def test_the_first_prompt_and_its_tokens_are_recorded(loaded, folder, tmp_path):
    found = run(loaded, [CHOICE, GENERATE], folder, tmp_path).tasks
    assert found["toy_choice"]["first_prompt"] == "Question: Who sees the cat?\nAnswer:"
    for task in found.values():
        ids = loaded.tokenizer.encode(task["first_prompt"])[: harness.FIRST_TOKENS]
        assert task["first_token_ids"][: len(ids)] == ids


def test_truncated_prompts_are_counted(loaded, folder, tmp_path):
    whole = run(loaded, [CHOICE, GENERATE], folder, tmp_path)
    assert {task["truncated"] for task in whole.tasks.values()} == {0}
    cut = run(loaded, [CHOICE, GENERATE], folder, tmp_path, max_length=14)
    assert cut.tasks["toy_choice"]["truncated"] > 0
    assert cut.tasks["toy_generate"]["truncated"] == 7


def test_no_room_for_a_prompt_is_an_error_that_names_the_fix(loaded, folder, tmp_path):
    entry = spec("toy_long", "exact_match", "whole")
    with pytest.raises(EvaluationError, match="toy_long: 512 new tokens .*max_gen_toks: N"):
        run(loaded, [entry], folder, tmp_path, max_length=400)
    short = run(loaded, [entry], folder, tmp_path, generation={"max_gen_toks": 5})
    assert short.tasks["toy_long"]["max_gen_toks"] == 5
    assert short.samples["toy_long"]["response_tokens"].max() <= 5
    kept = run(loaded, [GENERATE], folder, tmp_path, generation={"max_gen_toks": 50})
    assert kept.tasks["toy_generate"]["max_gen_toks"] == 12


@pytest.mark.parametrize(
    ("entry", "changes", "message"),
    [
        (spec("toy_chioce", "acc"), {}, "no task 'toy_chioce'; similar or known: toy_choice"),
        (spec("toy_choice", "f1"), {}, "toy_choice: no metric 'f1'; it has acc, acc_norm"),
        (spec("toy_choice", "acc", "strict"), {}, "toy_choice: no filter 'strict'; it has none"),
        (spec("toy_group", "acc_norm"), {}, "toy_group: no metric 'acc_norm'; it has acc"),
        (spec("toy_fixed", "acc", num_fewshot=3), {}, "fixes 0 examples, num_fewshot 3"),
        (spec("toy_empty", "acc"), {}, "toy_empty: no documents"),
        (CHOICE | {"note": ""}, {}, "task toy_choice: keys are"),
        (CHOICE, {"floors": ["uniform"]}, "no floor uniform; there is: permuted"),
        (CHOICE, {"batch_size": "auto"}, "batch_size 'auto'"),
        (CHOICE, {"generation": {"temperature": 1}}, "give max_gen_toks"),
        (CHOICE, {"subset": {"n": 0, "seed": 0}}, "give n"),
        (spec("toy_group", "acc"), {"subset": {"n": 1, "seed": 0}}, "less than its 2 tasks"),
    ],
)
def test_what_does_not_fit_is_one_clear_line(loaded, folder, tmp_path, entry, changes, message):
    with pytest.raises(EvaluationError) as caught:
        run(loaded, [entry], folder, tmp_path, **changes)
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_a_task_named_twice_is_refused(loaded, folder, tmp_path):
    with pytest.raises(EvaluationError, match="named twice: toy_choice"):
        run(loaded, [CHOICE, CHOICE], folder, tmp_path)


def test_a_subset_is_the_same_documents_at_every_width(loaded, folder, tmp_path):
    subset = {"n": 9, "seed": 3}
    first = run(loaded, [CHOICE], folder, tmp_path, subset=subset)
    second = run(
        loaded, [CHOICE], folder, tmp_path, subset=subset, run="x/r0.10", kept_inputs={"keep": "b"}
    )
    for column in ("doc_id", "doc_hash", "target_hash"):
        assert (first.samples["toy_choice"][column] == second.samples["toy_choice"][column]).all()
    assert first.tasks["toy_choice"]["n"] == 9 == len(first.samples["toy_choice"])
    whole = run(loaded, [CHOICE], folder, tmp_path).samples["toy_choice"].set_index("doc_id")
    chosen = first.samples["toy_choice"].set_index("doc_id")
    assert (whole.loc[chosen.index, "doc_hash"] == chosen["doc_hash"]).all()
    assert (whole.loc[chosen.index, "acc,none"] == chosen["acc,none"]).all()


def test_a_groups_subset_is_shared_out_by_size():
    sizes = {"a": 100, "b": 50, "c": 3}
    chosen = subset_indices(sizes, {"n": 30, "seed": 0}, group="g")
    assert {name: len(found) for name, found in chosen.items()} == {"a": 19, "b": 10, "c": 1}
    assert all(found == sorted(set(found)) for found in chosen.values())
    assert chosen == subset_indices(sizes, {"n": 30, "seed": 0}, group="g")
    assert chosen != subset_indices(sizes, {"n": 30, "seed": 1}, group="g")
    assert subset_indices(sizes, {"n": 200, "seed": 0}, group="g") is None


def test_chance_is_the_score_of_blind_picking():
    manager = {"num_fewshot": 0, "fewshot_seed": 0, "generation": None}
    folders = [bench.tasks_dir()]
    mc1 = tasks.load("bench_truthfulness_mc1", folders=folders, **manager)
    mc2 = tasks.load("bench_truthfulness_mc2", folders=folders, **manager)
    for loaded_task, field in ((mc1, "choices"), (mc2, "mc2_choices")):
        task = next(iter(loaded_task.tasks.values()))
        docs = list(task.eval_docs)
        entries = [
            {
                "doc": doc,
                "filter": "none",
                "target": task.doc_to_target(doc),
                "arguments": [("", choice) for choice in doc[field]],
                "metrics": ["acc"],
            }
            for doc in docs
        ]
        chance = samples.chance_levels(task, entries)["acc"]
        if field == "choices":
            assert chance == pytest.approx(np.mean([1 / len(d["choices"]) for d in docs]))
        else:
            assert chance == pytest.approx(np.mean([np.mean(d["mc2_labels"]) for d in docs]))


def test_lm_evals_own_tasks_are_found_without_reading_them_all():
    for name, members in (("leaderboard_musr", 3), ("mmlu", 61), ("ifeval", 0), ("boolq", 0)):
        manager = tasks.task_manager(name, [bench.tasks_dir()])
        assert name in manager.task_index
        assert len(manager.task_index) < 200
        assert all(n in manager.task_index for n in tasks._members(manager, name))
        assert len(set(tasks._members(manager, name))) >= 1 + bool(members)


@pytest.fixture
def offline(tmp_path, monkeypatch) -> Path:
    """The folder of the real data; datasets found as clones in the working directory only."""
    data = os.environ.get("PPMLIB_TEST_DATA")
    if not data:
        pytest.skip("PPMLIB_TEST_DATA is not set: no copies of the real tasks' documents")
    import datasets
    import nltk

    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(nltk.data, "path", [f"{data}/data/nltk_data"])
    monkeypatch.chdir(tmp_path)
    return Path(data) / "data"


def test_ifeval_scores_the_same_text_the_same_way(loaded, tmp_path, offline):
    clone = tmp_path / "google" / "IFEval"
    clone.mkdir(parents=True)
    (clone / "input_data.jsonl").symlink_to(offline / "ifeval" / "input_data.jsonl")
    entry = spec("ifeval", "prompt_level_strict_acc")
    settings = {
        "subset": {"n": 24, "seed": 0},
        "generation": {"max_gen_toks": 16},
        "batch_size": 8,
        "max_length": 512,
    }
    with pytest.raises(EvaluationError, match="ifeval: 1280 new tokens leave no room"):
        run(loaded, [entry], tmp_path, tmp_path / "a", **(settings | {"generation": None}))
    first = run(loaded, [entry], tmp_path, tmp_path / "a", **settings)
    second = run(loaded, [entry], tmp_path, tmp_path / "b", **settings)
    assert first.results() == second.results()
    table = first.samples["ifeval"]
    strict = table["inst_level_strict_acc,none"]
    assert (strict.map(len) == table["instruction_ids"].map(len)).all()
    rows = first.rows[first.rows["source"] == "model"].set_index("metric")
    assert len(rows) == 4 and rows["stderr"].notna().all()


def test_musr_is_a_group_with_its_stories_as_clusters(loaded, tmp_path, offline):
    real_documents.musr(offline, tmp_path / "TAUR-Lab" / "MuSR", at_most=2)
    entry = spec("leaderboard_musr", "acc_norm")
    found = run(loaded, [entry], tmp_path, tmp_path, max_length=256)
    table = found.samples["leaderboard_musr"]
    rows = found.rows.set_index("task")
    assert list(rows.index[1:]) == [f"leaderboard_musr_{split}" for split in real_documents.MUSR]
    assert rows.loc["leaderboard_musr", "value"] == table["acc_norm,none"].mean()
    assert table["cluster"].nunique() < len(table)
    assert 1 / 5 < rows.loc["leaderboard_musr", "chance"] < 1 / 2
    assert found.tasks["leaderboard_musr"]["truncated"] > 0


def test_headlines_tell_above_from_not_above():
    rows = pd.DataFrame(
        [
            dict(task=t, metric="acc", filter="none", value=v, stderr=0.02, n=200, chance=c,
                 source=s, axis="toy", headline=True, num_fewshot=0, higher_is_better=True)
            for t, v, c, s in (
                ("knows", 0.9, 0.25, "model"), ("guesses", 0.25, 0.25, "model"),
                ("writes", 0.5, None, "model"), ("writes", 0.5, None, "permuted"),
            )
        ]
    )  # fmt: skip
    right = np.arange(200)
    tables = {
        "knows": pd.DataFrame({"acc,none": (right < 180).astype(float)}),
        "guesses": pd.DataFrame({"acc,none": (right < 50).astype(float)}),
        "writes": pd.DataFrame(
            {"acc,none": (right < 100).astype(float), "permuted:acc,none": np.full(200, 0.5)}
        ),
    }
    table = scorecard.headlines(rows, tables)
    assert table["level"].to_dict() == {
        "knows": "above floor", "guesses": "not above floor", "writes": "not above floor"
    }  # fmt: skip
    assert table["floor"].to_dict() == {
        "knows": "chance", "guesses": "chance", "writes": "permuted"
    }  # fmt: skip


def test_prompts_are_shown_as_text_and_never_as_markup():
    task = {"first_prompt": "<script>alert(1)</script>", "first_token_ids": [1]}
    page = scorecard.first_prompts({"t": task})
    assert "<script>" not in page and "&lt;script&gt;" in page
