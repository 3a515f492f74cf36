"""Dense GLU families, as small random models, on every path of the library."""

import copy
import random
import shutil

import pytest
import torch
from families import CONVOLVED, FAMILIES, TITLES, WINDOW, family, model_type
from lm_eval.api.instance import Instance
from test_fast import WORDS, assert_alike, backends, token_requests
from test_models import change_json
from test_notebooks import REPOSITORY, run_papermill
from tiny_models import token_ids
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.models.lfm2.modeling_lfm2 import Lfm2MLP

from ppmlib.evaluation import engines
from ppmlib.model import checkpoint, layouts, models
from ppmlib.profile import limits, profiling
from ppmlib.profile.widths import Widths
from ppmlib.prune import export, kept_neurons, noise, scores, scoring, slicing
from ppmlib.record import records
from ppmlib.study_file.selection import Selection

ON_FAST = [name for name in FAMILIES if not name.startswith("lfm2")]
WANTED = Selection(pruning_ratio=0.3)
VOCABULARY = 1032  # of the bench models' tokenizer, and what a family's own class adds to it


@pytest.fixture(scope="module")
def tokenizer():
    return models.load("bench-small", device="cpu").tokenizer


@pytest.mark.parametrize("name", ON_FAST)
def test_the_fast_engine_gives_lm_evals_log_likelihoods(name, tokenizer):
    model = family(name)
    assert engines.choose("auto", model.config.to_dict()) == ("fast", None)
    plain, quick = backends(model, tokenizer, 3, pass_tokens=24)
    short = [(("", ""), [5, 6, token], [7, 8]) for token in range(3, 9)]
    requests = [*token_requests(0, count=20), *short]
    assert len(requests[0][1]) > WINDOW > len(short[0][1])
    theirs = plain._loglikelihood_tokens(requests)
    ours = quick._loglikelihood_tokens(requests)
    assert_alike(theirs, ours, [len(continuation) for *_, continuation in requests])


def texts(seed: int, count: int) -> list[str]:
    """Prompts of which some share their beginning; shorter and longer than the window."""
    rnd = random.Random(seed)
    header = " ".join(rnd.choices(WORDS, k=10))
    made = [" ".join(rnd.choices(WORDS, k=rnd.choice((1, 3, 12)))) for _ in range(count)]
    return [f"{header} {text}" if number % 2 else text for number, text in enumerate(made)]


def instances(kind: str, arguments: list[tuple]) -> list[Instance]:
    return [
        Instance(request_type=kind, doc={}, arguments=given, idx=0, metadata=("toy", i, 1))
        for i, given in enumerate(arguments)
    ]


@pytest.mark.parametrize("name", ON_FAST)
def test_the_fast_engine_gives_lm_evals_perplexities_and_texts(name, tokenizer):
    model = family(name, vocab_size=len(tokenizer))
    plain, quick = backends(model, tokenizer, 4, max_length=48)
    rolling = instances("loglikelihood_rolling", [(text,) for text in texts(0, 6)])
    theirs, ours = plain.loglikelihood_rolling(rolling), quick.loglikelihood_rolling(rolling)
    assert theirs == pytest.approx(ours, rel=1e-5)

    settings = {"until": ["\n\n"], "max_gen_toks": 14, "do_sample": False}
    asked = instances("generate_until", [(text, settings) for text in texts(1, 7)])
    assert quick.generate_until(asked) == plain.generate_until(asked)
    assert quick.engine_notes["engine"] == "fast"
    assert quick.largest_batch > 1


def test_auto_chooses_the_fast_engine_for_the_families_tested_here_and_no_others():
    assert {model_type(name) for name in ON_FAST} == engines.PROVEN
    assert {model_type(name) for name in FAMILIES} == TITLES.keys()


@pytest.mark.parametrize(
    "settings",
    [
        {"intermediate_size": 12288},  # as LFM2-1.2B: 8192
        {"block_ff_dim": 6656},
        {"block_ff_dim": 200, "intermediate_size": 96, "block_multiple_of": 48},
        {"intermediate_size": 1000, "block_ffn_dim_multiplier": 1.3},
        {"intermediate_size": 1000, "block_auto_adjust_ff_dim": False},
    ],
)
def test_the_width_that_lfm2_computes_is_known_without_its_weights(settings):
    with torch.device("meta"):
        mlp = Lfm2MLP(AutoConfig.for_model("lfm2", hidden_size=8, **settings))
    assert layouts.neurons({"model_type": "lfm2", **settings}) == mlp.w1.out_features


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("block_multiple_of", 0),
        ("block_multiple_of", "x"),
        ("block_ffn_dim_multiplier", None),
        ("intermediate_size", 96.5),
    ],
)
def test_a_computed_width_that_is_no_number_is_refused_in_one_line(key, value, write):
    folder = write(family("lfm2-computed", vocab_size=VOCABULARY))
    change_json(folder / "config.json", **{key: value})
    with pytest.raises(checkpoint.ModelError, match="config.json has no whole number inter"):
        checkpoint.check(folder, "lfm2")


def test_layers_that_mix_tokens_are_left_to_lm_eval():
    config = family("lfm2").config.to_dict()
    engine, reason = engines.choose("auto", config)
    assert engine == "plain" and "lfm2" in reason
    config["model_type"] = "llama"
    assert "conv" in engines.choose("auto", config)[1]


@pytest.mark.parametrize(("name", "expected"), [("llama", "sdpa"), ("gemma2", "eager")])
def test_attention_is_sdpa_where_the_family_has_it_and_recorded(name, expected, tmp_path):
    source = models.locate("bench-small")
    shutil.copytree(source, tmp_path / "model", ignore=shutil.ignore_patterns("*.safetensors"))
    vocabulary = len(models.load("bench-small", device="cpu").tokenizer)
    family(name, vocab_size=vocabulary).save_pretrained(tmp_path / "model")
    loaded = models.load(str(tmp_path / "model"), device="cpu")
    assert loaded.identity["attn_implementation"] == expected
    assert loaded.model.config._attn_implementation == expected


def gates_and_ups(model) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Gate and up weights of every layer, found by the names that the family's own code has."""
    found = []
    for layer in model.model.layers:
        mlp = layer.feed_forward if hasattr(layer, "feed_forward") else layer.mlp
        if hasattr(mlp, "gate_up_proj"):
            weight = mlp.gate_up_proj.weight
            found.append((weight[: len(weight) // 2], weight[len(weight) // 2 :]))
        elif hasattr(mlp, "w1"):
            found.append((mlp.w1.weight, mlp.w3.weight))
        else:
            found.append((mlp.gate_proj.weight, mlp.up_proj.weight))
    return found


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_scores_and_kept_neurons_are_those_of_the_plain_definitions(name, dtype):
    model = family(name, dtype=dtype)
    pairs = gates_and_ups(model)
    found = scoring.score_many(model, scores.CRITERIA)
    for criterion, define in scores.CRITERIA.items():
        expected = torch.stack([define(*pair).detach() for pair in pairs])
        torch.testing.assert_close(found[criterion], expected)
    assert torch.equal(found["ppm"], torch.stack([scores.ppm(*pair).detach() for pair in pairs]))
    keep = kept_neurons.choose_neurons(model, WANTED).keep
    assert keep.shape == (4, 68)  # of 96
    for kept, pair in zip(keep, pairs, strict=True):
        best = scores.ppm(*pair).sort(descending=True, stable=True).indices[:68]
        assert torch.equal(kept, best.sort().values)


@pytest.mark.parametrize("name", FAMILIES)
def test_noise_is_added_to_gate_and_up_apart_and_can_be_taken_back(name):
    model = family(name)
    dense = copy.deepcopy(model.state_dict())
    before = [(gate.clone(), up.clone()) for gate, up in gates_and_ups(model)]
    with noise._put_back(model):
        noise.add_noise(model, 0.1, seed=3)
        for layer, pairs in enumerate(zip(before, gates_and_ups(model), strict=True)):
            for matrix, clean, noisy in zip(("gate", "up"), *pairs, strict=True):
                drawn = noise.draw_noise(clean.shape, seed=3, layer=layer, matrix=matrix)
                torch.testing.assert_close(noisy, clean + 0.1 * clean.std() * drawn)
    assert all(torch.equal(dense[key], value) for key, value in model.state_dict().items())


@pytest.mark.parametrize("name", FAMILIES)
def test_slicing_equals_zeroing_and_a_width_can_be_installed_and_taken_back(name):
    model = family(name, dtype=torch.float64)
    ids, dense = token_ids(model), copy.deepcopy(model.config.to_dict())
    keep = kept_neurons.choose_neurons(model, WANTED).keep
    logits = model(ids).logits
    zeroed, sliced, compacted = (copy.deepcopy(model) for _ in range(3))
    slicing.zero_neurons(zeroed, keep)
    slicing.slice_mlps(sliced, keep)
    slicing.slice_mlps(compacted, keep, reuse_memory=True)
    expected = zeroed(ids).logits
    assert not torch.allclose(expected, logits)
    torch.testing.assert_close(sliced(ids).logits, expected, rtol=1e-12, atol=1e-12)
    assert torch.equal(compacted(ids).logits, sliced(ids).logits)

    widths = Widths(model, {"dense/r0.00": None, "ppm/r0.30": keep})
    with widths.install("ppm/r0.30") as narrow:
        assert torch.equal(narrow(ids).logits, sliced(ids).logits)
        assert layouts.neurons(narrow.config.to_dict()) == 68
    assert torch.equal(model(ids).logits, logits) and model.config.to_dict() == dense
    about = widths.describe("ppm/r0.30")
    assert about["weights_bytes"] == about["weights_bytes_computed"]


@pytest.mark.parametrize("name", FAMILIES)
def test_a_cache_within_the_window_has_the_bytes_of_the_closed_form(name):
    model = family(name)
    _, cache = profiling.greedy(model, token_ids(model, rows=3, length=4), 3, lambda: None)
    assert profiling.count_cache_bytes(cache) == limits.kv_cache_bytes(model, 3, 6)


@pytest.fixture
def write(tokenizer, tmp_path):
    """Writes a model with a tokenizer into a folder that a study could name."""

    def write_model(model):
        model.save_pretrained(tmp_path / "dense")
        tokenizer.save_pretrained(tmp_path / "dense")
        return tmp_path / "dense"

    return write_model


@pytest.mark.parametrize("name", FAMILIES)
def test_an_export_keeps_the_family_s_layout_and_is_loaded_by_plain_transformers(
    name, write, tmp_path
):
    dense = family(name, vocab_size=VOCABULARY)
    source = write(dense)
    checkpoint.check(source, name)
    loaded = models.load(str(source), device="cpu")
    kept = kept_neurons.choose_neurons(loaded.model, WANTED)
    folder = export.export(loaded, kept.keep, tmp_path / "narrow", WANTED)

    checkpoint.check(folder, name)
    assert checkpoint.shapes(folder).keys() == checkpoint.shapes(source).keys()
    assert layouts.neurons(checkpoint.read_json(folder / "config.json")) == 68
    implementation = loaded.identity["attn_implementation"]
    again = AutoModelForCausalLM.from_pretrained(folder, attn_implementation=implementation)
    ids = token_ids(again)
    slicing.slice_mlps(dense, kept.keep)
    with torch.inference_mode():
        assert torch.equal(again(ids).logits, loaded.model(ids).logits)
        torch.testing.assert_close(again(ids).logits, dense(ids).logits)


@pytest.mark.parametrize(("name", "ratio"), [("phi3", 0.3), ("lfm2-computed", 0.0)])
def test_the_pruning_notebook_runs_on_a_family_with_other_projections(name, ratio, write, tmp_path):
    source = write(family(name, vocab_size=VOCABULARY))
    given = ("-p", "model", str(source), "-p", "pruning_ratio", str(ratio))
    run_papermill(REPOSITORY / "notebooks" / "2_pruning.ipynb", tmp_path, *given)
    (record,) = (tmp_path / "ppm-out").rglob("2_pruning.json")
    assert records.read_json(record)["results"]["intermediate_size"] == (68 if ratio else 96)


SMALL = {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
EXPERTS = SMALL | {"intermediate_size": 96, "num_key_value_heads": 2, "head_dim": 12}
REFUSED = {
    "mixtral": (EXPERTS | {"num_local_experts": 4}, "mixture of experts (num_local_experts is 4)"),
    "qwen3_moe": (EXPERTS | {"num_experts": 4, "moe_intermediate_size": 96}, "mixture of experts"),
    "lfm2_moe": (EXPERTS | {"num_experts": 4, "layer_types": CONVOLVED[:2]}, "mixture of experts"),
    "gpt2": ({"n_embd": 48, "n_layer": 2, "n_head": 4}, "(gpt2) has no GLU MLPs"),
    "phi": (SMALL | {"intermediate_size": 96}, "(phi) has no GLU MLPs"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_experts_and_mlps_without_a_gate_are_refused_before_any_work(name, write):
    settings, reason = REFUSED[name]
    config = AutoConfig.for_model(name, vocab_size=VOCABULARY, **settings)
    folder = write(AutoModelForCausalLM.from_config(config))
    with pytest.raises(checkpoint.ModelError) as refusal:
        checkpoint.check(folder, name)
    assert reason in str(refusal.value) and "\n" not in str(refusal.value)


@pytest.mark.parametrize(("name", "part"), [("phi3", "gate_up_proj"), ("lfm2-computed", "w1")])
def test_a_width_that_the_config_does_not_say_is_refused(name, part, write):
    model = family(name, vocab_size=VOCABULARY)
    model.config.intermediate_size = 200
    with pytest.raises(checkpoint.ModelError, match=f"{part} of layer 0 has shape"):
        checkpoint.check(write(model), name)
