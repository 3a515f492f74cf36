import random
import shutil

import numpy as np
import pytest
import torch
from tiny_models import llama

from ppmlib.model import models
from ppmlib.prune import scored, scores, scoring, weight_rows
from ppmlib.record import records

GATE = torch.tensor([[1.0, -2.0, 0.5], [0.25, 3.0, 1.0]])
UP = torch.tensor([[0.0, -1.0, 4.0], [-1.0, -2.0, -0.5]])


def test_ppm_by_hand_follows_the_published_formula_where_a_row_has_one_sign():
    # Row 1 of gate is all positive: max + |min| = 3.25, max - min = 2.75.
    # Row 1 of up is all negative: max + |min| = -0.5 + 2 = 1.5.
    assert scores.ppm(GATE, UP).tolist() == [3.0 + 5.0, 3.25 + 1.5]


def test_the_other_scores_by_hand():
    assert scores.l2(GATE, UP)[0].item() == pytest.approx(5.25**0.5 + 17**0.5)
    assert scores.pon(GATE, UP).tolist() == pytest.approx([3.5 * 5.0, 4.25 * 3.5])
    gate, up = GATE.double().numpy(), UP.double().numpy()
    expected = gate.var(axis=1, ddof=1) + up.var(axis=1, ddof=1)
    assert scores.vow(GATE, UP).tolist() == pytest.approx(expected.tolist())
    assert torch.equal(scores.inverse(GATE, UP), -scores.ppm(GATE, UP))


@pytest.mark.parametrize("name", scores.CRITERIA)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_scores_are_those_of_a_float32_copy_whatever_the_dtype(name, dtype, monkeypatch):
    generator = torch.Generator().manual_seed(3)
    gate, up = (torch.randn(300, 257, generator=generator).to(dtype) for _ in range(2))
    monkeypatch.setattr(weight_rows, "STRIP_VALUES", 257 * 7)
    score = scores.CRITERIA[name]
    result = score(gate, up)
    assert result.dtype == torch.float32
    assert torch.equal(result, score(gate.float(), up.float()))


@pytest.mark.parametrize("name", scores.CRITERIA)
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_a_weight_that_is_not_finite_is_refused(name, bad):
    gate = GATE.clone()
    gate[1, 2] = bad
    with pytest.raises(ValueError, match="neuron 1 is not finite"):
        scores.CRITERIA[name](gate, UP)


@pytest.mark.skipif(not shutil.which("cc"), reason="there is no C compiler")
def test_an_installation_beside_a_c_compiler_has_row_extremes_compiled():
    assert weight_rows.compiled() is not None, "install the package again: make test"


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("by", ["row_extremes.c", "torch and numpy"])
def test_extremes_of_16_bit_weights_are_exact_for_every_sign(dtype, by, monkeypatch):
    monkeypatch.setattr(weight_rows, "STRIP_VALUES", 33 * 3)
    if by != "row_extremes.c":
        monkeypatch.setattr(weight_rows, "compiled", lambda: None)
    elif weight_rows.compiled() is None:
        pytest.skip("row_extremes.c was not compiled: there was no C compiler at installation")

    def extremes(matrix):
        return weight_rows.read([matrix], [weight_rows.EXTREMES])[weight_rows.EXTREMES][0]

    generator = torch.Generator().manual_seed(1)
    weight = torch.randn(40, 33, generator=generator)
    weight[3], weight[7] = weight[3].abs(), -weight[7].abs()
    weight[11], weight[12], weight[13] = 0.0, -0.0, torch.tensor([0.0, -0.0] * 16 + [0.0])
    weight[14, 5], weight[15, 5] = 0.0, -0.0
    weight[16] = torch.cat([torch.zeros(3), -weight[16, 3:].abs()])
    weight = weight.to(dtype)
    highest, lowest = extremes(weight)
    assert torch.equal(highest, weight.amax(1)) and torch.equal(lowest, weight.amin(1))
    apart = extremes(weight.t().contiguous().t())
    assert torch.equal(apart[0], highest) and torch.equal(apart[1], lowest)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_all_criteria_read_together_score_as_each_alone(dtype, monkeypatch):
    model = llama(dtype=dtype)
    alone = {name: scoring.score_model(model, name) for name in scores.CRITERIA}
    monkeypatch.setattr(weight_rows, "STRIP_VALUES", 48 * 5)
    together = scoring.score_many(model, scores.CRITERIA, seeds=[4])
    assert list(together) == [*scores.CRITERIA, "random-s4"]
    assert all(torch.equal(together[name], alone[name]) for name in alone)


@pytest.mark.parametrize("name", scores.CRITERIA)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_scores_do_not_depend_on_threads_and_torch_keeps_all_of_its_own(name, dtype, monkeypatch):
    model = llama(dtype=dtype)
    monkeypatch.setattr(weight_rows, "STRIP_VALUES", 48 * 5)
    before = torch.get_num_threads()
    try:
        found = []
        for threads in (1, 3):
            torch.set_num_threads(threads)
            found.append(scoring.score_model(model, name))
            assert torch.get_num_threads() == threads
            scoring.glu_mlps(model)[1].up.weight.data[3, 4] = float("nan")
            with pytest.raises(ValueError, match="layer 1: the score of neuron 3 is not finite"):
                scoring.score_model(model, name)
            assert torch.get_num_threads() == threads
            model = llama(dtype=dtype)
        assert torch.equal(*found)
    finally:
        torch.set_num_threads(before)


def test_shapes_that_differ_are_refused():
    with pytest.raises(ValueError, match="different shapes"):
        scores.ppm(GATE, UP[:1])


def test_the_layer_of_a_bad_weight_is_named():
    model = llama()
    with torch.no_grad():
        model.model.layers[2].mlp.up_proj.weight[5, 0] = float("nan")
    with pytest.raises(ValueError, match="layer 2: the score of neuron 5"):
        scoring.score_model(model, "ppm")


def test_random_scores_depend_on_seed_and_layer_alone_and_leave_the_global_state():
    before = (torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate())
    first = scores.random_scores(512, 0, 0)
    torch.rand(7)
    torch.set_rng_state(before[0])
    assert torch.equal(first, scores.random_scores(512, 0, 0))
    assert not torch.equal(first, scores.random_scores(512, 1, 0))
    assert not torch.equal(first, scores.random_scores(512, 0, 1))
    assert len(first.unique()) == 512
    assert torch.equal(before[0], torch.get_rng_state())
    assert (before[1] == np.random.get_state()[1]).all() and before[2] == random.getstate()


def test_random_scores_are_pinned():
    assert scores.random_scores(8, 0, 0).tolist() == [7.0, 6.0, 0.0, 5.0, 2.0, 3.0, 4.0, 1.0]


def test_score_many_names_its_selections():
    scored = scoring.score_many(llama(), ["ppm", "inverse"], [0, 7])
    assert list(scored) == ["ppm", "inverse", "random-s0", "random-s7"]
    assert all(values.shape == (3, 192) for values in scored.values())
    assert torch.equal(scored["inverse"], -scored["ppm"])


def test_an_unknown_criterion_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="unknown criterion 'maw'.*ppm, l2"):
        scoring.score_model(llama(), "maw")


def write_score(tmp_path, body):
    file = tmp_path / "my_score.py"
    file.write_text(f"import torch\n\ndef score(gate, up, down):\n    {body}\n")
    return f"{file}:score"


def test_a_custom_score_sees_all_three_weights(tmp_path):
    criterion = write_score(tmp_path, "return (gate * up).abs().sum(1) * down.norm(dim=0)")
    model = llama(dtype=torch.bfloat16)
    result = scoring.score_model(model, criterion)
    mlp = model.model.layers[1].mlp
    expected = (mlp.gate_proj.weight * mlp.up_proj.weight).abs().sum(1)
    expected = expected * mlp.down_proj.weight.norm(dim=0)
    assert torch.equal(result[1], expected.detach().float())
    assert scored.custom_sha256(criterion) == records.sha256_file(tmp_path / "my_score.py")


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("return gate", "expected a tensor of 192 values, got \\(192, 48\\)"),
        ("return 1.0", "expected a tensor of 192 values, got float"),
        ("return gate.sum(1) * float('nan')", "not finite"),
    ],
)
def test_a_custom_score_of_the_wrong_kind_is_refused_naming_its_file(tmp_path, body, reason):
    with pytest.raises(ValueError, match=f"my_score.py:score.*{reason}"):
        scoring.score_model(llama(), write_score(tmp_path, body))


def test_a_custom_score_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no file"):
        scoring.score_model(llama(), f"{tmp_path}/none.py:score")
    with pytest.raises(ValueError, match="my_score.py has no function 'other'"):
        scoring.score_model(llama(), write_score(tmp_path, "pass").replace(":score", ":other"))


def test_scores_of_a_study_come_from_its_record_and_from_no_other_model(tmp_path):
    loaded = models.load("bench-small", device="cpu")
    other = models.load("bench-small", device="cpu", dtype="bfloat16")
    values = scoring.score_many(loaded.model, ["ppm"])
    records.write(
        tmp_path,
        "1_scoring",
        inputs=scored.scoring_inputs(loaded.identity, criteria=["ppm"], seeds=[], counts={}),
        results={"selections": {n: scored.scores_sha256(v) for n, v in values.items()}},
        files=[scored.write_scores(tmp_path / scored.SCORES_FILE, values)],
    )
    read = scored.read_scores(tmp_path, loaded, record_dir=".", criterion="ppm")
    assert torch.equal(read, values["ppm"])
    with pytest.raises(records.RecordError, match="no scores of l2"):
        scored.read_scores(tmp_path, loaded, record_dir=".", criterion="l2")
    with pytest.raises(records.RecordError, match="another model"):
        scored.read_scores(tmp_path, other, record_dir=".", criterion="ppm")
    with pytest.raises(records.RecordError, match="no such record"):
        scored.read_scores(tmp_path / "empty", loaded, record_dir=".", criterion="ppm")
