import copy
import hashlib
import os
from pathlib import Path

import pytest
import torch
from optipfair.pruning import mlp_glu as optipfair
from tiny_models import llama, qwen2, token_ids
from torch import nn

from ppmlib import bench
from ppmlib.model import glu, models
from ppmlib.prune import kept_neurons, scoring, selection, slicing
from ppmlib.record import records
from ppmlib.study_file.selection import Selection

RATIOS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6)
METHODS = {"ppm": "PPM", "l2": "L2", "vow": "VOW", "pon": "PON"}


def stories260k():
    data = os.environ.get("PPMLIB_TEST_DATA")
    if not data:
        pytest.skip("PPMLIB_TEST_DATA is not set: no pretrained model, only the bench model")
    return models.load(str(Path(data, "models", "stories260K")), device="cpu").model


def bench_model():
    return models.load("bench", device="cpu").model


MODELS = {"stories260K": stories260k, "bench": bench_model, "llama": llama, "qwen2": qwen2}


def test_published_widths():
    kept = [Selection(pruning_ratio=p).keep_count(8192, 2048) for p in RATIOS]
    assert kept == [7373, 6554, 5735, 4916, 4096, 3277]


@pytest.mark.parametrize(
    ("size", "hidden", "request_", "expected"),
    [
        (100, 25, {"pruning_ratio": 0.29}, 71),  # 0.29 * 100 is 28.999999999999996 in floats
        (1000, 250, {"pruning_ratio": 0.001}, 999),
        (10, 5, {"pruning_ratio": 0.999}, 1),
        (8192, 2048, {"pruning_ratio": 0.0}, 8192),
        (8192, 2048, {"pruning_ratio": 0.0, "keep_multiple_of": 3000}, 8192),
        (8192, 2048, {"pruning_ratio": 0.4, "keep_multiple_of": 64}, 4864),
        (8192, 2048, {"pruning_ratio": 0.1, "keep_multiple_of": 128}, 7296),
        (100, 25, {"pruning_ratio": 0.9, "keep_multiple_of": 64}, 64),
        (8192, 2048, {"expansion_ratio": 2.4}, 4916),
        (14336, 4096, {"expansion_ratio": 2.25}, 9216),  # optipfair 0.4.2 gives 9217
        (8192, 3072, {"expansion_ratio": 1.6}, 4916),
        (8192, 2048, {"expansion_ratio": 4.0, "keep_multiple_of": 3000}, 8192),
        (8192, 2048, {"expansion_ratio": 0.0001}, 1),
        (18944, 3584, {"expansion_ratio": 18944 / 3584}, 18944),  # a float above the true ratio
        (192, 48, {"expansion_ratio": 77 / 48}, 77),
        (192, 48, {"pruning_ratio": 1 / 3}, 128),  # a float below the true ratio
    ],
)
def test_how_many_neurons_stay(size, hidden, request_, expected):
    assert Selection(**request_).keep_count(size, hidden) == expected


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        ({}, "either pruning_ratio or expansion_ratio"),
        ({"pruning_ratio": 0.4, "expansion_ratio": 2.4}, "either pruning_ratio or expansion"),
        ({"pruning_ratio": 1.0}, "not in \\[0, 1\\)"),
        ({"pruning_ratio": -0.1}, "not in \\[0, 1\\)"),
        ({"pruning_ratio": float("nan")}, "not in \\[0, 1\\)"),
        ({"expansion_ratio": 4.01}, "above the model's own 4"),
        ({"expansion_ratio": 0.0}, "not a positive"),
        ({"expansion_ratio": float("nan")}, "not a positive"),
        ({"pruning_ratio": 0.4, "keep_multiple_of": 128}, "nothing would be left"),
        ({"pruning_ratio": 0.4, "keep_multiple_of": 0}, "not a positive whole number"),
    ],
)
def test_impossible_widths_are_refused(request_, reason):
    with pytest.raises(ValueError, match=reason):
        Selection(**request_).keep_count(100, 25)


def test_ties_go_to_the_lower_index_and_are_counted():
    values = torch.tensor([1.0, 3.0, 2.0, 2.0, 0.0, 2.0, 3.0])
    assert selection.select(values, 3).tolist() == [1, 2, 6]
    assert selection.select(values, 4).tolist() == [1, 2, 3, 6]
    assert [selection.count_ties_at_cut(values, k) for k in range(1, 8)] == [2, 0, 3, 3, 0, 0, 0]


def test_ties_are_broken_alike_in_long_vectors():
    values = torch.zeros(5000)
    assert selection.select(values, 1234).tolist() == list(range(1234))


def test_a_selection_of_nothing_or_of_nan_is_refused():
    for k in (0, 4):
        with pytest.raises(ValueError, match="cannot keep"):
            selection.select(torch.ones(3), k)
    with pytest.raises(ValueError, match="not finite"):
        selection.select(torch.tensor([1.0, float("nan")]), 1)


def test_narrower_widths_keep_a_subset_of_wider_ones():
    for values in scoring.score_many(llama(), ["ppm", "pon"], [0]).values():
        kept = [set(selection.select(values[0], k).tolist()) for k in (170, 115, 20)]
        assert kept[2] < kept[1] < kept[0]


def test_the_hash_of_kept_indices_is_their_shape_and_values():
    keep = torch.tensor([[0, 2], [1, 3]])
    data = b"keep 2x2\n" + b"".join(i.to_bytes(4, "little") for i in (0, 2, 1, 3))
    assert kept_neurons.keep_sha256(keep) == hashlib.sha256(data).hexdigest()
    assert kept_neurons.keep_sha256(keep.int()) == kept_neurons.keep_sha256(keep)
    assert kept_neurons.keep_sha256(keep.reshape(1, 4)) != kept_neurons.keep_sha256(keep)


def optipfair_keep(mlp, ratio: float, method: str) -> list[int]:
    """The neurons that optipfair's own pruning function keeps, read off tagged biases."""
    tagged = copy.deepcopy(mlp)
    index = torch.arange(tagged.gate_proj.out_features)
    dtype = tagged.gate_proj.weight.dtype
    # Two biases, since bfloat16 holds whole numbers only up to 256.
    tagged.gate_proj.bias = nn.Parameter((index // 256).to(dtype))
    tagged.up_proj.bias = nn.Parameter((index % 256).to(dtype))
    function = optipfair.IMPORTANCE_FUNCTIONS[method]
    gate, up, _, _ = optipfair.prune_neuron_pairs(tagged, 100 * ratio, function)
    return (gate.bias.long() * 256 + up.bias.long()).tolist()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", MODELS)
def test_kept_sets_equal_optipfairs_in_float32(name, method):
    model = MODELS[name]()
    for ratio in RATIOS:
        plan = kept_neurons.choose_neurons(model, Selection(method, pruning_ratio=ratio))
        for mlp, keep in zip(glu.glu_mlps(model), plan.keep, strict=True):
            assert keep.tolist() == optipfair_keep(mlp.module, ratio, METHODS[method])


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", MODELS)
def test_in_bfloat16_only_neurons_tied_at_the_cut_may_differ_from_optipfair(name, method):
    model = MODELS[name]().to(torch.bfloat16)
    values = scoring.score_model(model, method)
    for ratio in RATIOS:
        k = kept_neurons.choose_neurons(model, Selection(method, pruning_ratio=ratio)).k
        for mlp, layer_scores in zip(glu.glu_mlps(model), values, strict=True):
            ours = set(selection.select(layer_scores, k).tolist())
            theirs = set(optipfair_keep(mlp.module, ratio, METHODS[method]))
            cut = layer_scores.sort(descending=True).values[k - 1]
            tied = set((layer_scores == cut).nonzero().flatten().tolist())
            assert len(theirs) == k and ours ^ theirs <= tied
            assert len(ours ^ theirs) <= 2 * selection.count_ties_at_cut(layer_scores, k)


def test_ties_at_the_cut_do_occur_in_bfloat16():
    model = bench_model().to(torch.bfloat16)
    values = scoring.score_model(model, "ppm")
    counts = [selection.count_ties_at_cut(layer, 308) for layer in values]
    assert any(counts)


@pytest.mark.parametrize(
    "build", [llama, lambda **k: llama(mlp_bias=True, **k), qwen2], ids=["llama", "biases", "qwen2"]
)
def test_slicing_equals_zeroing_in_float64(build):
    dense = build(dtype=torch.float64)
    plan = kept_neurons.choose_neurons(dense, Selection(pruning_ratio=0.4))
    sliced, zeroed = copy.deepcopy(dense), copy.deepcopy(dense)
    slicing.slice_mlps(sliced, plan.keep)
    slicing.zero_neurons(zeroed, plan.keep)
    ids = token_ids(dense)
    with torch.no_grad():
        difference = (sliced(ids).logits - zeroed(ids).logits).abs().max()
        changed = (sliced(ids).logits - dense(ids).logits).abs().max()
    assert difference < 1e-12 < changed
    assert sliced.config.intermediate_size == plan.k
    assert sliced.model.layers[0].mlp.intermediate_size == plan.k


def test_mlp_outputs_before_and_after_slicing_agree_and_change_nothing():
    model = llama(mlp_bias=True)
    before = copy.deepcopy(model.state_dict())
    plan = kept_neurons.choose_neurons(model, Selection("random", seed=3, pruning_ratio=0.5))
    silenced = slicing.mlp_outputs(model, plan.keep)
    assert all(torch.equal(model.state_dict()[name], value) for name, value in before.items())
    assert not torch.allclose(silenced, slicing.mlp_outputs(model))
    slicing.slice_mlps(model, plan.keep)
    assert (slicing.mlp_outputs(model) - silenced).abs().max() < 1e-12
    assert model.model.layers[0].mlp.gate_proj.weight.dtype == torch.float32


def test_the_order_of_neurons_does_not_matter():
    model = llama(dtype=torch.float64)
    ids = token_ids(model)
    with torch.no_grad():
        before = model(ids).logits
        for mlp in glu.glu_mlps(model):
            order = torch.randperm(192, generator=torch.Generator().manual_seed(mlp.layer))
            mlp.gate.weight.copy_(mlp.gate.weight[order])
            mlp.up.weight.copy_(mlp.up.weight[order])
            mlp.down.weight.copy_(mlp.down.weight[:, order])
        assert (model(ids).logits - before).abs().max() < 1e-12


def test_slicing_leaves_random_state_modules_and_gradient_flags_alone():
    model = llama(mlp_bias=True).requires_grad_(False)
    modules = [mlp.gate for mlp in glu.glu_mlps(model)]
    state = torch.get_rng_state()
    slicing.slice_mlps(model, torch.arange(50).expand(3, -1))
    assert torch.equal(state, torch.get_rng_state())
    assert modules == [mlp.gate for mlp in glu.glu_mlps(model)]
    assert not any(parameter.requires_grad for parameter in model.parameters())
    assert modules[0].out_features == 50 == modules[0].bias.shape[0]


def test_slicing_twice_is_slicing_once():
    once, twice = llama(), llama()
    plan = kept_neurons.choose_neurons(once, Selection(pruning_ratio=0.6))
    wide = kept_neurons.choose_neurons(once, Selection(pruning_ratio=0.3))
    slicing.slice_mlps(once, plan.keep)
    slicing.slice_mlps(twice, wide.keep)
    slicing.slice_mlps(
        twice, kept_neurons.choose_neurons(twice, Selection(expansion_ratio=77 / 48)).keep
    )
    for name, value in once.state_dict().items():
        assert torch.equal(value, twice.state_dict()[name])


@pytest.mark.parametrize(
    ("keep", "reason"),
    [
        (torch.arange(5).expand(2, -1), "3 layers of 192"),
        (torch.arange(5), "has shape"),
        (torch.tensor([[0, 2, 1]] * 3), "ascend"),
        (torch.tensor([[0, 1, 1]] * 3), "ascend"),
        (torch.tensor([[0, 1], [0, 1], [0, 192]]), "0..191"),
        (torch.tensor([[0, 1], [0, 1], [-1, 2]]), "0..191"),
        (torch.ones(3, 192, dtype=torch.bool), "not indices"),
        (torch.zeros(3, 0, dtype=torch.long), "has shape"),
    ],
)
def test_kept_indices_that_do_not_fit_are_refused_before_anything_changes(keep, reason):
    model = llama()
    before = copy.deepcopy(model.state_dict())
    for change in (slicing.slice_mlps, slicing.zero_neurons):
        with pytest.raises(ValueError, match=reason):
            change(model, keep)
    assert all(torch.equal(model.state_dict()[name], value) for name, value in before.items())


REQUEST = {"criterion": "ppm", "seed": 0, "pruning_ratio": 0.4, "expansion_ratio": None}


def write_pruning_record(root, loaded, **request):
    plan = kept_neurons.choose_neurons(loaded.model, Selection(**request))
    records.write(
        root,
        f"{plan.run}/2_pruning",
        inputs=kept_neurons.pruning_inputs(loaded.identity, Selection(**request)),
        results={"keep_sha256": plan.keep_sha256},
        files=[kept_neurons.write_keep(kept_neurons.keep_path(root, plan.run), plan.keep)],
    )
    return plan


def test_kept_neurons_come_from_the_record_and_from_no_other_model_or_width(tmp_path):
    loaded = models.load("bench-small", device="cpu")
    half = models.load("bench-small", device="cpu", dtype="bfloat16")
    plan = write_pruning_record(tmp_path, loaded, **REQUEST)
    kept = kept_neurons.find_neurons(tmp_path, loaded, Selection(**REQUEST), record_dir=".")
    assert torch.equal(kept.keep, plan.keep) and kept.run == "ppm/r0.40" and kept.k == plan.k
    with pytest.raises(records.RecordError, match="another keep_multiple_of"):
        kept_neurons.find_neurons(
            tmp_path, loaded, Selection(keep_multiple_of=8, **REQUEST), record_dir="."
        )
    with pytest.raises(records.RecordError, match="another model"):
        kept_neurons.find_neurons(tmp_path, half, Selection(**REQUEST), record_dir=".")
    with pytest.raises(records.RecordError, match="no such record"):
        kept_neurons.find_neurons(
            tmp_path, loaded, Selection(**{**REQUEST, "criterion": "l2"}), record_dir="."
        )


def test_a_bare_run_computes_what_is_missing_or_of_another_model(tmp_path):
    loaded = models.load("bench-small", device="cpu")
    computed = kept_neurons.find_neurons(tmp_path, loaded, Selection(**REQUEST), record_dir="")
    assert not list(tmp_path.iterdir())
    write_pruning_record(tmp_path, models.load("bench", device="cpu"), **REQUEST)
    again = kept_neurons.find_neurons(tmp_path, loaded, Selection(**REQUEST), record_dir="")
    assert torch.equal(computed.keep, again.keep)


def test_a_keep_file_of_another_run_is_noticed(tmp_path):
    loaded = models.load("bench-small", device="cpu")
    plan = write_pruning_record(tmp_path, loaded, **REQUEST)
    kept_neurons.write_keep(kept_neurons.keep_path(tmp_path, plan.run), plan.keep[:, 1:])
    with pytest.raises(records.RecordError, match="keep.safetensors"):
        kept_neurons.find_neurons(tmp_path, loaded, Selection(**REQUEST), record_dir=".")


def test_the_dense_run_depends_on_no_criterion(tmp_path):
    loaded = models.load("bench-small", device="cpu")
    dense = {**REQUEST, "pruning_ratio": 0.0}
    write_pruning_record(tmp_path, loaded, **dense)
    other = {**dense, "criterion": "l2", "keep_multiple_of": 7}
    kept = kept_neurons.find_neurons(tmp_path, loaded, Selection(**other), record_dir=".")
    assert kept.run == "dense/r0.00"
    assert kept.keep[0].tolist() == list(range(glu.intermediate_size(loaded.model)))


def test_the_packaged_models_are_there():
    assert all((bench.model_dir(name) / "model.safetensors").is_file() for name in bench.MODELS)
