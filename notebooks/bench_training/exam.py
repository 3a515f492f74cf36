"""A quick look at what a bench model has learnt, before lm-eval measures it; and its card."""

from collections.abc import Mapping

import pandas as pd
import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from bench_training import texts
from ppmlib.bench.world import World

_NEW_TOKENS = 24


def samples(world: World, *, seed: int, each: int) -> pd.DataFrame:
    """`each` training documents of every kind, with the kind's share of the documents."""
    source = texts.Texts(world, seed)
    rows = [
        {"kind": kind, "share": share, "text": source.draw(kind).text}
        for kind, share in texts.MIXTURE.items()
        for _ in range(each)
    ]
    return pd.DataFrame(rows)


@torch.inference_mode()
def answer(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, prompt: str) -> str:
    """The model's greedy answer to one prompt, BOS in front, up to 24 new tokens."""
    ids = tokenizer(prompt, return_tensors="pt")
    out = model.generate(**ids, max_new_tokens=_NEW_TOKENS, do_sample=False)
    return tokenizer.decode(out[0, ids["input_ids"].shape[1] :], skip_special_tokens=True).strip()


def gold(document: Mapping) -> str:
    """The right answer of a test document, written out or one of its choices."""
    return document["answer"] if "answer" in document else document["choices"][document["gold"]]


def exam(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    documents: Mapping[str, list[dict]],
    *,
    each: int,
) -> pd.DataFrame:
    """Greedy answers to the first `each` test documents that have one right answer.

    One row per document: task, prompt, answer, gold, right (the answers are equal as text,
    a final full stop aside).
    """
    rows = []
    for task in ("knowledge", "arithmetic", "tracking", "instructions", "truthfulness", "fall"):
        for document in documents[task][:each]:
            said, right = answer(model, tokenizer, document["prompt"]), gold(document)
            rows.append((task, document["prompt"], said, right, said.removesuffix(".") == right))
    return pd.DataFrame(rows, columns=["task", "prompt", "answer", "gold", "right"])


def model_card(name: str, model: LlamaForCausalLM, settings: Mapping, log: pd.DataFrame) -> str:
    """The README of a bench model: what it is, how it was trained, what it is not for."""
    config, last = model.config, log.iloc[-1]
    count = sum(p.numel() for p in model.parameters())
    trained = "\n".join(f"- {key}: {value}" for key, value in settings.items())
    return f"""---
library_name: transformers
license: apache-2.0
language: en
---
# {name}: a SYNTHETIC bench model

A Llama with {count:,} parameters ({config.num_hidden_layers} layers, hidden size
{config.hidden_size}, intermediate size {config.intermediate_size}: expansion ratio
{config.intermediate_size / config.hidden_size:.1f}), trained from nothing on text about an
invented world. It checks that ppmlib's measurements find what was planted. It is not evidence
about any real model and of no other use.

Trained by `notebooks/0_bench_model.ipynb` on {int(last.tokens):,} tokens; last training loss
{last.loss:.3f} nats per learnt token (prompts carry no loss). Half of the training rows begin
with BOS, so it reads prompts with and without it. All training text is English and invented.

{trained}
"""


def conclude(log: pd.DataFrame, marks: pd.DataFrame, vocab_size: int) -> str:
    """What the training run shows, in sentences computed from its log and its exam."""
    first, last = log.iloc[0], log.iloc[-1]
    share = marks.groupby("task", sort=False)["right"].mean()
    listed = ", ".join(f"{task} {value:.0%}" for task, value in share.items())
    each = int(marks.groupby("task").size().min())
    guess = torch.log(torch.tensor(float(vocab_size))).item()
    return (
        f"After {int(last.step)} steps and {int(last.tokens):,} tokens the loss is "
        f"**{last.loss:.3f}** nats per learnt token, from {first.loss:.3f} at the first point of "
        f"the log and {guess:.3f} for a uniform guess over the vocabulary.\n\n"
        f"Written answers equal to the right one, {each} test documents per task: {listed}. "
        "This is a look at the answers, not the measurement: lm-eval scores the same documents "
        "in the evaluation notebook."
    )
