import copy

import pandas as pd
import pytest
import torch
from tiny_models import llama, qwen2
from torch import nn
from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig

from ppmlib import bench
from ppmlib.model import glu
from ppmlib.prune import slicing
from ppmlib.study_file.selection import Selection

PUBLISHED = pd.read_csv(bench.model_dir("bench").parents[2] / "published" / "architecture.csv")


def published_model(row) -> nn.Module:
    """The published architecture on the meta device: sizes, no weights."""
    heads = {2048: 32, 3072: 24}[row.hidden_size]
    config = LlamaConfig(
        vocab_size=128256,
        hidden_size=row.hidden_size,
        intermediate_size=8192,
        num_hidden_layers=row.num_hidden_layers,
        num_attention_heads=heads,
        num_key_value_heads=8,
        head_dim=row.hidden_size // heads,
        tie_word_embeddings=True,
    )
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(config)


def test_every_published_width_and_parameter_count_is_reproduced():
    assert len(PUBLISHED) == 18
    models = {row.model: published_model(row) for row in PUBLISHED.itertuples()}
    for row in PUBLISHED.itertuples():
        k = Selection(pruning_ratio=row.pruning_ratio).keep_count(8192, row.hidden_size)
        assert k == row.intermediate_size
        assert glu.pruned_parameter_count(models[row.model], k) == row.parameters
        assert k / row.hidden_size == pytest.approx(row.expansion_ratio, abs=1e-6)


@pytest.mark.parametrize(
    "build", [llama, lambda: llama(mlp_bias=True), qwen2], ids=["llama", "biases", "qwen2"]
)
def test_the_closed_form_is_what_is_counted_after_slicing(build):
    model = build()
    keep = torch.arange(0, glu.intermediate_size(model), 3).expand(3, -1)
    predicted = glu.pruned_parameter_count(model, keep.shape[1])
    dense = glu.parameter_count(model)
    assert glu.pruned_parameter_count(model, glu.intermediate_size(model)) == dense
    slicing.slice_mlps(model, keep)
    assert glu.parameter_count(model) == predicted < dense


def test_widths_and_layers_are_read_from_the_weights():
    mlps = glu.glu_mlps(llama())
    assert [mlp.layer for mlp in mlps] == [0, 1, 2]
    assert mlps[1].down.weight.shape == (48, 192)
    assert glu.describe(llama())["expansion_ratio"] == 4.0


def test_frozen_parameters_count():
    model = llama()
    expected = glu.parameter_count(model)
    assert glu.parameter_count(model.requires_grad_(False)) == expected


def _no_gate():
    return AutoModelForCausalLM.from_config(
        GPT2Config(vocab_size=64, n_embd=32, n_layer=1, n_head=2)
    )


def _experts():
    model = llama()
    model.config.num_local_experts = 4
    return model


def _quantised():
    model = llama()
    model.config.quantization_config = {"quant_method": "bitsandbytes"}
    return model


def _subclassed_linear():
    model = llama()
    model.model.layers[2].mlp.up_proj.__class__ = type("Linear4bit", (nn.Linear,), {})
    return model


def _uneven():
    model = llama()
    other = llama(intermediate_size=96)
    model.model.layers[1].mlp = other.model.layers[1].mlp
    return model


def _missing_layer():
    model = llama()
    model.model.layers[1].mlp = nn.Identity()
    return model


def _norm_inside():
    model = llama()
    model.model.layers[0].mlp.sub_norm = nn.RMSNorm(192)
    return model


@pytest.mark.parametrize(
    ("build", "reason"),
    [
        (_no_gate, "no GLU MLPs"),
        (_experts, "mixture of experts"),
        (_quantised, "quantised"),
        (_subclassed_linear, "layers.2.mlp.up_proj is a Linear4bit"),
        (_uneven, "different widths"),
        (_missing_layer, "the model has 3 layers"),
        (_norm_inside, "sub_norm.weight, which act across neurons"),
    ],
)
def test_a_model_that_cannot_be_sliced_is_refused_and_left_alone(build, reason):
    model = build()
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(ValueError, match=reason):
        slicing.slice_mlps(model, torch.arange(10).expand(3, -1))
    after = model.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())
