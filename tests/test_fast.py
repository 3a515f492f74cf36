"""`engine: fast` against lm-eval's own backend, on random requests and on the bench tasks.

PPMLIB_RANDOM_SETS: how many random sets of requests of each kind are compared.
"""

import copy
import os
import random
from collections import Counter

import numpy as np
import pytest
import torch
from families import family
from lm_eval.api.instance import Instance
from tiny_models import _build, _sizes, llama
from toy_tasks import spec, write_tasks
from transformers import LlamaConfig, Qwen2Config

from ppmlib.evaluation import backends as loading
from ppmlib.evaluation import fast_lm as fast
from ppmlib.evaluation.fast import greedy, prefixes, scored
from ppmlib.evaluation.run import evaluate
from ppmlib.evaluation.samples import EvaluationError
from ppmlib.model import models
from ppmlib.show import scorecard

PER_TOKEN = 1e-5
SETS = int(os.environ.get("PPMLIB_RANDOM_SETS", "12"))
WORDS = "the cat sat on a mat and saw. Two birds\n of 12 , he said: yes".split(" ")


@pytest.fixture(scope="module")
def bench():
    return models.load("bench-small", device="cpu")


def backends(model, tokenizer, batch_size, *, max_length=None, pass_tokens=None, bos=False):
    made = []
    for engine in ("plain", "fast"):
        lm = loading.load(
            model,
            tokenizer,
            batch_size=batch_size,
            add_bos_token=bos,
            max_length=max_length,
            softmax_dtype=None,
            engine=engine,
        )
        lm.begin()
        made.append(lm)
    if pass_tokens:
        made[1].pass_tokens = made[1].row_tokens = pass_tokens
    return made


def token_requests(seed: int, count: int = 40):
    """Requests that share headers, questions, and whole continuations; some exceed the window."""
    rnd = random.Random(seed)

    def some(low, high):
        return [rnd.randrange(3, 99) for _ in range(rnd.randint(low, high))]

    headers = [[], some(1, 5), some(20, 30), some(50, 90)]
    requests = [(("", ""), some(90, 100), some(1, 20))]
    while len(requests) < count:
        context = rnd.choice(headers) + some(1, rnd.choice((3, 20, 60)))
        answer = some(1, rnd.choice((1, 4, 12)))
        endings = [answer, [*answer, *some(1, 3)], some(1, 1), some(1, 1), answer[:1], some(1, 60)]
        requests += [(("", ""), context, end) for end in rnd.sample(endings, rnd.randint(1, 5))]
    return requests


def assert_alike(theirs, ours, lengths):
    for (a, greedy_a), (b, greedy_b), length in zip(theirs, ours, lengths, strict=True):
        assert abs(a - b) <= PER_TOKEN * length, (a, b, length)
        assert greedy_a == greedy_b


LLAMA3_ROPE = {
    "rope_type": "llama3",
    "rope_theta": 500000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}


def some_model(seed, vocab_size=99):
    """A random model: Llama or Qwen2, tied or not, with plain positions or those of Llama 3."""
    rope = LLAMA3_ROPE if seed % 4 == 3 else None
    kind = Qwen2Config if seed % 4 == 0 else LlamaConfig
    sizes = _sizes(96) | {"vocab_size": vocab_size, "max_position_embeddings": 64}
    tied = seed % 3 == 0
    config = kind(**sizes, tie_word_embeddings=tied, rope_parameters=rope, eos_token_id=1)
    return _build(config, seed, torch.float32)


@pytest.mark.parametrize("seed", range(SETS))
def test_random_requests_have_lm_evals_log_likelihoods(seed, bench):
    model = some_model(seed)
    batch_size, pass_tokens = (1, 3, 16, 64)[seed % 4], (24, 100, 256)[seed % 3]
    plain, quick = backends(model, bench.tokenizer, batch_size, pass_tokens=pass_tokens)
    requests = token_requests(seed)
    theirs = plain._loglikelihood_tokens(requests)
    ours = quick._loglikelihood_tokens(requests)
    assert_alike(theirs, ours, [len(continuation) for *_, continuation in requests])
    assert quick.truncated == plain.truncated > 0
    assert quick.largest_batch <= batch_size
    assert quick.engine_notes["passes"]["most_tokens"] <= pass_tokens


def test_one_token_options_of_one_question_need_one_pass_of_one_sequence(bench):
    _, quick = backends(llama(), bench.tokenizer, 8)
    context = list(range(5, 45))
    quick._loglikelihood_tokens([(("", ""), context, [token]) for token in (7, 8, 9, 10)])
    assert quick.engine_notes["passes"] == {
        "sequences": 1,
        "tokens": 40,
        "passes": 1,
        "tokens_encoded": 40,
        "most_rows": 1,
        "most_sequences": 1,
        "most_tokens": 40,
    }


@pytest.mark.parametrize(("batch_size", "passes"), [(1, 2), (2, 1)])
def test_a_shared_header_is_encoded_once_and_passes_hold_a_batch_of_tokens(
    bench, batch_size, passes
):
    _, quick = backends(llama(), bench.tokenizer, batch_size)
    header = list(range(3, 43))
    requests = [(("", ""), [*header, 50 + i, 50], [60, 61]) for i in range(10)]
    quick._loglikelihood_tokens(requests)
    noted = quick.engine_notes["passes"]
    # 43 tokens a sequence: the header and the first one's own, then the other nine's.
    assert noted["passes"] == passes and noted["most_tokens"] <= 43 * batch_size
    assert noted["tokens_encoded"] == 40 + 10 * 3 and quick.largest_batch == 1


def test_sequences_that_share_nothing_fill_rows_the_longest_first(bench):
    _, quick = backends(llama(), bench.tokenizer, 3, pass_tokens=100)
    rnd = random.Random(3)
    lengths = (10, 50, 20, 5, 12, 11, 30)
    requests = [(("", ""), [rnd.randrange(3, 99) for _ in range(n)], [4]) for n in lengths]
    quick._loglikelihood_tokens(requests)
    passes = quick.engine_notes["passes"]
    # 50 and 30; 20, 12 and 11; 10 and 5.
    assert (passes["passes"], passes["tokens_encoded"]) == (3, 2 * 50 + 3 * 20 + 2 * 10)


def test_greedy_continuations_are_recognised(bench):
    model = llama(seed=5)
    plain, quick = backends(model, bench.tokenizer, 4)
    rnd = random.Random(0)
    contexts = [[rnd.randrange(3, 99) for _ in range(rnd.randint(2, 20))] for _ in range(8)]
    requests = []
    for context in contexts:
        ids = torch.tensor([context])
        with torch.inference_mode():
            for _ in range(3):
                best = model(ids).logits[:, -1].argmax(-1, keepdim=True)
                ids = torch.cat([ids, best], dim=1)
        requests.append((("", ""), context, ids[0, len(context) :].tolist()))
    ours = quick._loglikelihood_tokens(requests)
    assert all(greedy for _, greedy in ours)
    assert ours[0][1] == plain._loglikelihood_tokens(requests)[0][1]


def instances(kind, arguments):
    return [
        Instance(request_type=kind, doc={}, arguments=a, idx=i, metadata=("t", i, 1))
        for i, a in enumerate(arguments)
    ]


def sentence(rnd, low, high):
    return " ".join(rnd.choice(WORDS) for _ in range(rnd.randint(low, high)))


def padding_on(tokenizer, side):
    other = copy.deepcopy(tokenizer)
    other.padding_side = side
    return other


@pytest.mark.parametrize("seed", range(SETS))
def test_texts_with_and_without_context_have_lm_evals_log_likelihoods(bench, seed):
    rnd = random.Random(seed)
    tokenizer = padding_on(bench.tokenizer, ("left", "right")[seed % 2])
    model = bench.model if seed % 4 == 1 else some_model(seed, len(tokenizer))
    bos, batch_size = seed % 3 > 0, (5, 1, 16)[seed % 3]
    plain, quick = backends(model, tokenizer, batch_size, max_length=48, bos=bos)
    asked = [("", " " + sentence(rnd, 1, 8)) for _ in range(6)]
    for _ in range(6):
        context = sentence(rnd, 1, 60) + rnd.choice(("", " ", "  "))
        asked += [(context, " " + sentence(rnd, 1, 6)) for _ in range(3)]
    requests = instances("loglikelihood", asked)
    theirs, ours = plain.loglikelihood(requests), quick.loglikelihood(requests)
    assert_alike(theirs, ours, [len(plain.tok_encode(text)) for _, text in asked])
    assert (plain.first_ids, plain.bos_counts) == (quick.first_ids, quick.bos_counts)


@pytest.mark.parametrize("seed", range(SETS))
def test_texts_longer_than_the_window_have_lm_evals_perplexity(bench, seed):
    rnd = random.Random(seed)
    model = bench.model if seed % 4 == 1 else some_model(seed, len(bench.tokenizer))
    batch_size = (1, 4, 9)[seed % 3]
    plain, quick = backends(model, bench.tokenizer, batch_size, max_length=32, bos=seed % 2 == 0)
    texts = [(sentence(rnd, low, low + 5),) for low in (1, 5, 30, 90, 40, 3)]
    requests = instances("loglikelihood_rolling", texts)
    theirs, ours = plain.loglikelihood_rolling(requests), quick.loglikelihood_rolling(requests)
    for (text,), a, b in zip(texts, theirs, ours, strict=True):
        assert abs(a - b) <= PER_TOKEN * len(plain.tok_encode(text))
    assert quick.batch_size == batch_size and quick.first_ids == plain.first_ids


def vocabulary_model(tokenizer, seed):
    model = some_model(seed, len(tokenizer))
    for config in (model.config, model.generation_config):
        config.eos_token_id = tokenizer.eos_token_id
    return model


@pytest.mark.parametrize("seed", range(SETS))
def test_random_prompts_get_lm_evals_responses_and_endings(bench, seed):
    rnd = random.Random(seed)
    tokenizer = padding_on(bench.tokenizer, ("left", "right")[seed // 2 % 2])
    model = bench.model if seed % 2 == 0 else vocabulary_model(tokenizer, seed)
    batch_size = (1, 2, 5, 32)[seed // 3 % 4]
    plain, quick = backends(model, tokenizer, batch_size, max_length=64, bos=True)
    header = sentence(rnd, 10, 20)
    prompts = [header + " " + sentence(rnd, 1, 12) for _ in range(8)]
    prompts += [sentence(rnd, 1, 60) for _ in range(6)] + [prompts[0]]
    until = rnd.choice([[], ["."], ["a", " the"], ["\n", "e"]])
    settings = {"until": until, "do_sample": False, "max_gen_toks": rnd.choice((1, 7, 20))}
    requests = instances("generate_until", [(prompt, dict(settings)) for prompt in prompts])
    theirs, ours = plain.generate_until(requests), quick.generate_until(requests)
    assert quick.engine_notes["engine"] == "fast"
    assert theirs == ours
    assert plain.generated == quick.generated
    assert (plain.first_ids, plain.bos_counts) == (quick.first_ids, quick.bos_counts)
    assert quick.truncated == plain.truncated
    assert quick.engine_notes["passes"]["most_rows"] <= batch_size


def test_different_settings_of_generation_are_kept_apart(bench):
    plain, quick = backends(bench.model, bench.tokenizer, 4, bos=True)
    asked = [
        (f"How many {word} are", {"until": ["."], "max_gen_toks": 3 + i % 2})
        for i, word in enumerate(WORDS)
    ]
    requests = instances("generate_until", asked)
    assert plain.generate_until(requests) == quick.generate_until(requests)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"until": ["."], "do_sample": True, "temperature": 0.7}, "do_sample, temperature"),
        ({"until": ["."], "num_beams": 2}, "num_beams"),
        ({"until": ["b", "abc"]}, "stop string 'b' lies inside another one"),
        ({"until": ["<unk>"]}, "special token '<unk>'"),
    ],
)
def test_what_is_not_plain_greedy_is_left_to_lm_eval_and_noted(bench, settings, reason):
    _, quick = backends(bench.model, bench.tokenizer, 2, bos=True)
    if "<unk>" in settings["until"]:
        special = set(bench.tokenizer.all_special_tokens) - {bench.tokenizer.eos_token}
        settings = {"until": [sorted(special)[0]]}
        reason = f"special token {sorted(special)[0]!r}"
    asked = [("Where is", settings | {"max_gen_toks": 3})]
    quick.generate_until(instances("generate_until", asked))
    assert quick.engine_notes["engine"] == "plain" and reason in quick.engine_notes["because"]
    assert sum(len(queue) for queue in quick.generated.values()) == 1


def test_a_models_own_generation_settings_are_left_to_lm_eval(bench, monkeypatch):
    _, quick = backends(bench.model, bench.tokenizer, 2, bos=True)
    monkeypatch.setattr(bench.model.generation_config, "repetition_penalty", 1.3)
    assert "repetition_penalty" in greedy.why_not(quick, {"do_sample": False}, ["."])


def test_models_whose_layers_mix_tokens_are_refused(bench):
    with pytest.raises(EvaluationError, match="Lfm2ForCausalLM: no test holds it .* engine: plain"):
        backends(family("lfm2"), bench.tokenizer, 2)


def test_models_that_change_their_logits_are_refused(bench, monkeypatch):
    model = llama()
    whole = model.forward

    def scaled(*args, **kwargs):
        out = whole(*args, **kwargs)
        out.logits = out.logits * 0.5
        return out

    monkeypatch.setattr(model, "forward", scaled)
    with pytest.raises(EvaluationError, match="changes the logits"):
        backends(model, bench.tokenizer, 2)


def test_rows_that_would_not_fit_in_memory_are_written_one_after_the_other(bench, monkeypatch):
    plain, quick = backends(bench.model, bench.tokenizer, 8, bos=True)
    monkeypatch.setattr(greedy, "ROWS_BYTES", 1)
    asked = [(f"The {word} is", {"until": ["."], "max_gen_toks": 6}) for word in WORDS[:6]]
    requests = instances("generate_until", asked)
    assert quick.generate_until(requests) == plain.generate_until(requests)
    assert quick.engine_notes["passes"]["most_rows"] == 1


def test_logits_in_small_blocks_are_those_of_one_block(monkeypatch):
    generator = torch.Generator().manual_seed(0)
    head = torch.nn.Linear(8, 50, bias=False)
    hidden = torch.randn(30, 8, generator=generator)
    rows = np.array([3, 3, 29, 0, 7, 3, 12])
    tokens = np.array([4, 9, 49, 0, 7, 30, 2])
    with torch.inference_mode():
        whole = torch.log_softmax(head(hidden), -1)
        monkeypatch.setattr(scored, "LOGITS_BYTES", 50 * 4 * 2)
        logs, best = scored.log_probabilities(head, hidden, rows, tokens, None)
    assert torch.allclose(logs, whole[rows, tokens], atol=1e-6)
    assert best.tolist() == (whole.argmax(-1).numpy()[rows] == tokens).tolist()


def test_neighbours_in_tree_order_share_most():
    texts = ["ab", "b" * 40, "abc", "b" * 20 + "c" * 10, "a", "b" * 20 + "d" * 30]
    sequences = [np.array([ord(letter) for letter in text]) for text in texts]
    found = prefixes.families(sequences)
    assert [len(family) for family in found] == [3, 1, 1, 1]
    order = [number for family in found for number in family]
    assert Counter(order) == Counter(range(6))
    assert [texts[i][0] for i in order] == ["b"] * 3 + ["a"] * 3
    assert prefixes.common_length(sequences[3], sequences[5]) == 20


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_tasks(tmp_path_factory.mktemp("toy"))


KINDS = [
    spec("toy_choice", "acc", num_fewshot=0),
    spec("toy_generate", "exact_match", "first-word"),
    spec("toy_last", "acc"),
    spec("toy_text", "word_perplexity"),
    spec("toy_group", "acc"),
]


def test_an_evaluation_has_the_rows_of_the_plain_engine_and_another_fingerprint(
    bench, folder, tmp_path
):
    found = {}
    for engine in ("plain", "fast"):
        found[engine] = evaluate(
            bench,
            KINDS,
            root=tmp_path,
            run="dense/r0.00",
            kept_inputs={"keep_sha256": "a"},
            batch_size=4,
            engine=engine,
            add_bos_token=True,
            task_folders=[folder],
        )
    assert not found["fast"].reused
    plain, quick = found["plain"].rows, found["fast"].rows
    keys = ["task", "metric", "filter", "source", "n"]
    assert plain[keys].equals(quick[keys])
    for ours, theirs in zip(quick.itertuples(), plain.itertuples(), strict=True):
        assert ours.value == pytest.approx(theirs.value, rel=PER_TOKEN, abs=0)
    for name, table in found["plain"].samples.items():
        if "response" in table:
            assert table["response"].tolist() == found["fast"].samples[name]["response"].tolist()
    notes = {name: task["engine"]["engine"] for name, task in found["fast"].tasks.items()}
    assert set(notes.values()) == {"fast"}
    shown = {engine: scorecard.check_table(one.tasks) for engine, one in found.items()}
    assert "most tokens at once" not in shown["plain"]
    assert shown["fast"]["most tokens at once"].between(1, fast.MOST_TOKENS["cpu"]).all()
    assert fast.FEWEST_TOKENS["cpu"] <= found["fast"].tasks["toy_choice"]["engine"]["pass_tokens"]
