"""Noise at full width: what is disturbed, how it is matched to pruning, what cannot be matched."""

import math

import pytest
import torch
from small_study import INSTRUCTIONS, KNOWLEDGE, write_study
from tiny_models import llama, token_ids

from ppmlib.bench.documents import build_documents
from ppmlib.bench.world import build_world
from ppmlib.evaluation import backends, subject
from ppmlib.model import glu, models
from ppmlib.prune import calibration, kept_neurons, noise, slicing
from ppmlib.record import records
from ppmlib.study_file.params import ParamsError, Study
from ppmlib.study_file.selection import Selection
from ppmlib.workflow import plan

NOISE = {"criterion": "noise", "match": "word_perplexity"}


@pytest.fixture(scope="module")
def loaded():
    return models.load("bench-small", device="cpu")


@pytest.fixture(scope="module")
def text():
    whole = calibration.make_bench_text()
    return calibration.Text(whole.name, whole.documents[:12])


def backend(loaded):
    return backends.load(loaded.model, loaded.tokenizer, batch_size=16, add_bos_token=True)


def weights(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def same(first, second):
    return [name for name in first if not torch.equal(first[name], second[name])] == []


def test_noise_moves_every_glu_matrix_by_sigma_of_its_spread_and_nothing_else():
    model = llama()
    before = weights(model)
    noise.add_noise(model, 0.3, seed=0)
    for name, value in model.state_dict().items():
        moved = (value - before[name]).std() / before[name].std()
        if any(f"{matrix}_proj" in name for matrix in noise.MATRICES):
            assert moved == pytest.approx(0.3, rel=0.05), name
        else:
            assert moved == 0, name
    assert glu.intermediate_size(model) == 192


def test_the_same_seed_is_the_same_noise_and_the_global_state_is_left_alone():
    first, second, other = llama(), llama(), llama()
    torch.manual_seed(5)
    state = torch.get_rng_state()
    noise.add_noise(first, 0.3, seed=1)
    assert torch.equal(torch.get_rng_state(), state)
    noise.add_noise(second, 0.3, seed=1)
    noise.add_noise(other, 0.3, seed=2)
    assert same(weights(first), weights(second)) and not same(weights(first), weights(other))
    ids = token_ids(first)
    assert torch.equal(first(ids).logits, second(ids).logits)


def test_noise_of_sigma_zero_changes_nothing_and_a_bad_sigma_is_refused():
    model = llama(dtype=torch.bfloat16)
    before = weights(model)
    noise.add_noise(model, 0.0, seed=0)
    assert same(before, weights(model))
    with pytest.raises(ValueError, match="sigma nan"):
        noise.add_noise(model, math.nan, seed=0)


def test_noise_is_tuned_to_the_perplexity_of_the_pruned_model(loaded, text):
    keep = kept_neurons.choose_neurons(loaded.model, Selection(pruning_ratio=0.3)).keep
    before, lm = weights(loaded.model), backend(loaded)
    found = noise.match_noise(loaded.model, lm, keep, text, seed=0)
    assert same(before, weights(loaded.model))
    pruned = models.load("bench-small", device="cpu")
    slicing.slice_mlps(pruned.model, keep)
    target = math.exp(calibration.log_perplexity(backend(pruned), text))
    assert found.word_perplexity_pruned == pytest.approx(target, rel=1e-5)
    assert found.word_perplexity_noise == pytest.approx(target, rel=noise.MATCH_TOLERANCE)
    assert found.word_perplexity_dense < target
    noise.add_noise(loaded.model, found.sigma, 0)
    again = calibration.log_perplexity(lm, text)
    loaded.model.load_state_dict(before)
    assert math.exp(again) == pytest.approx(found.word_perplexity_noise, rel=1e-6)


def test_noise_is_tuned_in_smaller_batches_where_memory_is_short(loaded, text, monkeypatch):
    keep = kept_neurons.choose_neurons(loaded.model, Selection(pruning_ratio=0.3)).keep
    before, whole = weights(loaded.model), loaded.model.forward
    most, rows = 5, []

    def forward(input_ids, *args, **kwargs):
        if input_ids.shape[0] > most:
            raise torch.OutOfMemoryError("made to run out of memory")
        rows.append(input_ids.shape[0])
        return whole(input_ids, *args, **kwargs)

    lm = backend(loaded)
    monkeypatch.setattr(loaded.model, "forward", forward)
    found = noise.match_noise(loaded.model, lm, keep, text, seed=0)
    assert max(rows) == 4 and found.results()["batch_size"] == 4
    assert "batch_size" not in noise.match_noise(loaded.model, lm, keep, text, seed=0).results()
    most = 0
    with pytest.raises(noise.NoiseError, match="one document of .* at a time: set max_length"):
        noise.match_noise(loaded.model, lm, keep, text, seed=0)
    assert same(before, weights(loaded.model))


def test_pruning_that_does_no_damage_cannot_be_matched(loaded, text):
    before = weights(loaded.model)
    with pytest.raises(noise.NoiseError, match="pruning did no damage to match: word perplexity"):
        noise.match_noise(
            loaded.model, backend(loaded), kept_neurons.all_neurons(loaded.model), text, seed=0
        )
    assert same(before, weights(loaded.model))


def test_the_perplexity_is_lm_evals_on_the_same_text(loaded, text):
    lm = backend(loaded)
    plain = loaded.tokenizer
    ids = [plain.encode(document, add_special_tokens=False) for document in text.documents]
    total = 0.0
    for row in ids:
        whole = torch.tensor([[loaded.tokenizer.bos_token_id, *row]])
        scored = loaded.model(whole[:, :-1]).logits.log_softmax(-1)
        total += scored.gather(2, whole[:, 1:, None]).sum().item()
    words = sum(len(document.split()) for document in text.documents)
    assert calibration.log_perplexity(lm, text) == pytest.approx(-total / words, rel=1e-4)


def test_calibration_text_of_the_bench_is_in_no_task():
    text = calibration.make_bench_text()
    assert text == calibration.make_bench_text()
    assert len(set(text.documents)) == calibration.BENCH_TEXTS
    evaluated = {d["text"] for d in build_documents(build_world(0), 0)["text"]}
    assert len(evaluated) == 400 and not evaluated & set(text.documents)


def test_a_calibration_file_is_split_at_empty_lines(tmp_path):
    file = tmp_path / "mine.txt"
    file.write_text("One two.\nthree\n\n \nFour  five\n")
    text = calibration.load_text(str(file), model="any/model")
    assert text.documents == ("One two.\nthree", "Four  five")
    assert (text.name, text.words) == ("mine.txt", 5)
    file.write_text(" \n\n")
    with pytest.raises(calibration.CalibrationError, match="mine.txt: holds no text"):
        calibration.load_text(str(file), model="any/model")
    with pytest.raises(calibration.CalibrationError, match="calibration: {file: my_text.txt}"):
        calibration.load_text(None, model="any/model")


def test_an_evaluation_of_noise_applies_what_the_record_says(tmp_path, loaded, text):
    keep = kept_neurons.choose_neurons(loaded.model, Selection(pruning_ratio=0.3))
    found = noise.Matched(0.25, 3, 1.0, 2.0, 2.0, ((0.25, 2.0),))
    wanted = Selection("noise", seed=3, pruning_ratio=0.3)
    everything = kept_neurons.all_neurons(loaded.model)
    records.write(
        tmp_path,
        "noise/r0.30/2_pruning",
        inputs=noise.inputs(loaded.identity, matched=keep, wanted=wanted, text=text, settings={}),
        results=noise.results(loaded.model, wanted, found, text),
        files=[kept_neurons.write_keep(kept_neurons.keep_path(tmp_path, wanted.key), everything)],
    )
    of = subject.prepare(tmp_path, "bench-small", wanted, record_dir=".")
    expected = models.load("bench-small")
    noise.add_noise(expected.model, 0.25, seed=3)
    assert same(weights(of.loaded.model), weights(expected.model))
    assert of.kept_inputs["noise"] == {"sigma": 0.25, "seed": 3}
    assert of.run == "noise/r0.30" and of.results["pruning_ratio"] == 0.0
    with pytest.raises(records.RecordError, match="made with another model"):
        subject.prepare(tmp_path, "bench", wanted, record_dir=".")


def test_a_study_tunes_noise_after_the_pruning_it_is_matched_to(tmp_path):
    controls = [{**NOISE, "tasks": ["bench_instructions"]}]
    path = write_study(tmp_path, controls=controls, profiling=None)
    jobs = plan.build(Study.load(path), path, tmp_path)["jobs"]
    job = jobs["noise/r0.50/2_pruning"]
    assert (job["stage"], job["notebook"]) == ("2_pruning", "2_noise")
    assert job["reads"] == ["ppm/r0.50/2_pruning"]
    evaluation = jobs["noise/r0.50/3_evaluation"]["parameters"]
    assert [task["name"] for task in evaluation["tasks"]] == [INSTRUCTIONS["name"]]
    assert "noise" not in jobs["1_scoring"]["parameters"]["criteria"]


def test_a_users_calibration_text_is_named_and_hashed_but_not_located(tmp_path):
    (tmp_path / "mine.txt").write_text("Some text.\n")
    path = write_study(tmp_path, controls=[NOISE], calibration={"file": "mine.txt"}, profiling=None)
    root = tmp_path / "reports" / "small"
    made = plan.build(Study.load(path), path, root)
    job = made["jobs"]["noise/r0.20/2_pruning"]
    assert job["parameters"]["calibration_file"] == "../../mine.txt"
    assert job["static"]["calibration"]["name"] == "mine.txt"
    assert made["study"]["calibration"] == {"file": "mine.txt"}
    (tmp_path / "mine.txt").unlink()
    with pytest.raises(ParamsError, match="calibration: mine.txt: cannot be read"):
        plan.build(Study.load(path), path, root)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"controls": [{"criterion": "noise"}]}, "match: word_perplexity is needed for criterion"),
        ({"controls": [{"criterion": "l2", "match": "word_perplexity"}]}, "and only there"),
        ({"controls": [{**NOISE, "pruning_ratios": [0.3]}]}, "not one of the study's pruning_r"),
        ({"controls": [NOISE], "model": {"id": "./m"}}, "calibration: {file: my_text.txt}"),
        ({"criterion": "noise"}, "noise is a control"),
        ({"controls": [{"criterion": "inverse"}], "model": {"id": "./m"}}, "only for a packaged"),
        ({"floors": ["echo", "echo"]}, "floors: echo appears twice"),
        ({"floors": ["parrot"]}, "floors.0: expected one of 'permuted'"),
    ],
)
def test_a_wrong_control_or_floor_is_one_clear_line(tmp_path, changes, expected):
    path = write_study(tmp_path, tasks=[KNOWLEDGE, INSTRUCTIONS], **changes)
    with pytest.raises(ParamsError) as caught:
        Study.load(path)
    assert expected in str(caught.value) and "\n" not in str(caught.value)
