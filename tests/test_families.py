"""Dense GLU families, as small random models, on every path of the library."""

import random
import shutil

import pytest
from families import FAMILIES, WINDOW, family
from lm_eval.api.instance import Instance
from test_fast import WORDS, assert_alike, backends, token_requests

from ppmlib.evaluation import engines
from ppmlib.model import models

ON_FAST = [name for name in FAMILIES if name != "lfm2"]


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
