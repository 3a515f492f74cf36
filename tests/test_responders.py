"""Trivial baselines: what they answer, how it is counted, where they have nothing to say."""

import pytest
from small_study import KNOWLEDGE, write_study
from test_evaluation import run
from toy_tasks import spec, write_tasks

from ppmlib import bench
from ppmlib.evaluation import responses, task_files
from ppmlib.evaluation import trivial_baselines as responders
from ppmlib.evaluation.run import EvaluationError
from ppmlib.model import models
from ppmlib.study_file.params import ParamsError, Study
from ppmlib.study_file.selection import RESPONDERS, Selection
from ppmlib.workflow import plan

CHOICE = spec("toy_choice", "acc")
GENERATE = spec("toy_generate", "exact_match", "whole")
ALL = [CHOICE, GENERATE, spec("toy_group", "acc"), spec("toy_text", "word_perplexity")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_tasks(tmp_path_factory.mktemp("toy"))


def answer(kind, folder, root, specs=ALL, **changes):
    settings = {"run": f"floor-{kind}/r0.00", "kept_inputs": {}, "floors": []}
    loaded = responders.load(kind, model="bench")
    return run(loaded, specs, folder, root, **(settings | changes))


def test_the_constant_responder_is_right_where_the_answer_is_the(folder, tmp_path):
    found = answer("constant", folder, tmp_path)
    table = found.samples["toy_generate"]
    assert set(table["response"]) == {"the"}
    assert table["stopped"].all() and set(table["response_characters"]) == {3}
    # Targets are park, tree, house, sea, he: none is "the".
    assert found.rows.set_index("task").loc["toy_generate", "value"].tolist() == [0.0, 0.0]
    assert set(found.skipped) == {"toy_choice", "toy_group", "toy_text"}
    assert set(found.skipped.values()) == {"no generation task"}


def test_the_empty_response_is_one_token_no_character_and_no_repetition(folder, tmp_path):
    table = answer("empty", folder, tmp_path, [GENERATE]).samples["toy_generate"]
    assert set(table["response"]) == {""}
    assert set(table["response_tokens"]) == {1} and table["stopped"].all()
    assert set(table["response_characters"]) == {0} == set(table["response_repetition"])


def test_the_echo_is_the_prompt_up_to_the_first_stop_string(folder, tmp_path):
    settings = {"generation": None, "max_length": 600}
    long = spec("toy_long", "exact_match", "whole")
    table = answer("echo", folder, tmp_path, [long], **settings).samples["toy_long"]
    for row in table.itertuples():
        assert row.response == row.prompt_end.split(".")[0]
        assert row.stopped and row.response_tokens < 512


def test_the_repeated_token_never_ends_by_itself(folder, tmp_path):
    found = answer("repeated_token", folder, tmp_path, [GENERATE])
    table = found.samples["toy_generate"]
    limit = found.tasks["toy_generate"]["max_gen_toks"]
    assert set(table["response_tokens"]) == {limit} and not table["stopped"].any()
    assert set(table["response"].str.split().map(set).map(tuple)) == {("the",)}
    assert (table["response_repetition"] > 0.5).all()


def test_a_response_is_cut_at_the_limit_of_new_tokens(folder, tmp_path):
    cut = answer("echo", folder, tmp_path, [GENERATE], generation={"max_gen_toks": 4})
    table = cut.samples["toy_generate"]
    assert set(table["response_tokens"]) == {4} and not table["stopped"].any()
    assert all(r.prompt_end.startswith(r.response.strip()) for r in table.itertuples())


def test_uniform_picks_every_option_and_the_same_ones_again(folder, tmp_path):
    first = answer("uniform", folder, tmp_path / "a", [CHOICE, spec("toy_group", "acc")])
    again = answer("uniform", folder, tmp_path / "b", [CHOICE, spec("toy_group", "acc")])
    values = first.samples["toy_choice"]["acc,none"]
    assert values.tolist() == again.samples["toy_choice"]["acc,none"].tolist()
    assert values.tolist() == first.samples["toy_choice"]["acc_norm,none"].tolist()
    assert 0 < values.mean() < 1
    assert first.tasks["toy_choice"]["bos"] is None


def test_uniform_scores_chance_on_the_bench_tasks(tmp_path):
    wanted = [KNOWLEDGE | {"filter": "none"}, {**KNOWLEDGE, "name": "bench_fall", "filter": "none"}]
    rows = answer("uniform", bench.tasks_dir(), tmp_path, wanted).rows.query("headline")
    for row in rows.itertuples():
        assert abs(row.value - row.chance) < 4 * (row.chance * (1 - row.chance) / row.n) ** 0.5


def test_majority_takes_the_most_frequent_target_position(folder, tmp_path):
    found = answer("majority", folder, tmp_path, [CHOICE, spec("toy_group", "acc")])
    # 28 documents, targets 0, 1, 2, 0, ...: position 0 is right in 10 of them.
    values = found.samples["toy_choice"]["acc,none"]
    assert values.tolist() == [float(i % 3 == 0) for i in range(28)]
    group = found.samples["toy_group"]
    # toy_left has 3 options, targets 0 1 2 0 1; toy_right has 2 options, all targets 0.
    assert group.groupby("subtask")["acc,none"].sum().to_dict() == {"toy_left": 2, "toy_right": 28}


def test_majority_is_not_defined_where_one_position_is_always_right(folder, tmp_path):
    found = answer("majority", folder, tmp_path, [CHOICE, spec("toy_right", "acc")])
    assert set(found.skipped) == {"toy_right"}
    with pytest.raises(EvaluationError, match="floor-majority can answer no task"):
        answer("majority", folder, tmp_path, [spec("toy_right", "acc")])


def test_a_second_call_answers_nothing_again(folder, tmp_path):
    first, second = (answer("echo", folder, tmp_path, [GENERATE]) for _ in range(2))
    assert second.reused == ["toy_generate"] and first.reused == []
    assert first.results() == second.results()


def test_the_rows_have_the_shape_of_any_other_run(folder, tmp_path):
    ours = answer("uniform", folder, tmp_path / "a", [CHOICE]).rows
    theirs = run(models.load("bench-small", device="cpu"), [CHOICE], folder, tmp_path / "b").rows
    assert list(ours.columns) == list(theirs.columns)
    names = ["task", "metric", "filter", "n", "chance", "source", "headline", "version"]
    assert ours[names].equals(theirs[names])


def test_repetition_is_the_share_of_word_4_grams_seen_before():
    assert responses.repetition("") == 0 == responses.repetition("a b c")
    assert responses.repetition("a b c d e f") == 0
    # Six 4-grams: abab baba abab baba abab baba, two of them distinct.
    assert responses.repetition("a b a b a b a b a") == pytest.approx(1 - 2 / 6)
    assert responses.repetition("the " * 100) == pytest.approx(1 - 1 / 97)


@pytest.mark.parametrize(
    ("name", "kinds"),
    [
        ("bench_knowledge", {"multiple_choice"}),
        ("bench_instructions", {"generate_until"}),
        ("bench_text", {"loglikelihood_rolling"}),
        ("ifeval", {"generate_until"}),
        ("leaderboard_musr", {"multiple_choice"}),
        ("mmlu", {"multiple_choice"}),
        ("squadv2", None),
    ],
)
def test_output_types_are_read_from_task_files(name, kinds):
    assert task_files.read_output_types(name, [bench.tasks_dir()]) == kinds


def test_a_study_gets_one_job_per_responder_on_the_tasks_it_can_answer(tmp_path):
    floors = ["permuted", *RESPONDERS]
    path = write_study(tmp_path, floors=floors, pruning_ratios=[0.5], profiling=None)
    jobs = plan.build(Study.load(path), path, tmp_path)["jobs"]
    for kind, asked in RESPONDERS.items():
        job = jobs[f"{Selection(f'floor-{kind}').key}/3_evaluation"]
        assert f"floor-{kind}/r0.00/2_pruning" not in jobs and job["reads"] == []
        wanted = "bench_knowledge" if asked == "multiple_choice" else "bench_instructions"
        assert [task["name"] for task in job["parameters"]["tasks"]] == [wanted]
        assert job["parameters"]["floors"] == []
    assert jobs["ppm/r0.50/3_evaluation"]["parameters"]["floors"] == ["permuted"]
    assert "floor-echo/r0.00/3_evaluation" in jobs["5_analysis"]["reads"]


def test_a_responder_with_no_task_of_its_kind_is_refused_before_any_kernel(tmp_path):
    path = write_study(tmp_path, floors=["echo"], tasks=[KNOWLEDGE], profiling=None)
    with pytest.raises(ParamsError, match="floors: echo answers generate_until tasks and the"):
        plan.build(Study.load(path), path, tmp_path)
