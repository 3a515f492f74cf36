"""Train a small Llama on the world's text: configuration, batches, loop, export."""

import itertools
import json
import logging
import math
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

from bench_training.texts import Texts
from ppmlib.bench.world import World

logger = logging.getLogger(__name__)

CONTEXT = 512
_CHUNK = 2000
_NO_LOSS = -100  # the label that transformers ignores


@dataclass(frozen=True)
class Progress:
    """One logged point of a training run: loss in nats per learnt token, seconds so far."""

    step: int
    tokens: int
    loss: float
    learning_rate: float
    seconds: float


def new_model(
    tokenizer: PreTrainedTokenizerFast,
    *,
    hidden_size: int,
    num_layers: int,
    num_heads: int,
    expansion_ratio: float,
    initializer_range: float,
    seed: int,
) -> LlamaForCausalLM:
    """An untrained Llama in float32 with tied embeddings, weights drawn with the given deviation.

    Raises ValueError if the expansion ratio does not give a whole intermediate size.
    """
    intermediate_size = hidden_size * expansion_ratio
    if intermediate_size != int(intermediate_size):
        raise ValueError(f"expansion {expansion_ratio} x {hidden_size} is not a whole number")
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=hidden_size,
        intermediate_size=int(intermediate_size),
        num_hidden_layers=num_layers,
        num_attention_heads=num_heads,
        num_key_value_heads=num_heads,
        max_position_embeddings=CONTEXT,
        initializer_range=initializer_range,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        dtype="float32",
    )
    return LlamaForCausalLM(config)


def batches(
    world: World, tokenizer: PreTrainedTokenizerFast, *, rows: int, length: int, seed: int
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Batches of token ids and labels, each (rows, length), packed with whole documents.

    Every row begins with a document; every document ends with EOS. A row has BOS in front with
    probability one half, so that the model works with and without it. What does not fit is cut.
    The label of a token that carries no loss (BOS, prompts) is -100.
    """
    rng = random.Random(f"rows {seed}")
    ids, labels, done = [], [], []
    for prompt, learnt in _encoded(world, tokenizer, seed):
        if not ids and rng.random() < 0.5:
            ids, labels = [tokenizer.bos_token_id], [_NO_LOSS]
        ids = ids + prompt + learnt
        labels = labels + [_NO_LOSS] * len(prompt) + learnt
        if len(ids) >= length:
            done.append((ids[:length], labels[:length]))
            ids, labels = [], []
        if len(done) == rows:
            yield torch.tensor([row for row, _ in done]), torch.tensor([row for _, row in done])
            done = []


def _encoded(
    world: World, tokenizer: PreTrainedTokenizerFast, seed: int
) -> Iterator[tuple[list[int], list[int]]]:
    """Token ids of each document's prompt and of what is learnt, EOS included."""
    stream = iter(Texts(world, seed))
    while True:
        prompts, learnt = zip(*itertools.islice(stream, _CHUNK), strict=True)
        before = tokenizer(list(prompts), add_special_tokens=False)["input_ids"]
        after = tokenizer(list(learnt), add_special_tokens=False)["input_ids"]
        for first, second in zip(before, after, strict=True):
            yield first, [*second, tokenizer.eos_token_id]


def learning_rate_at(step: int, *, steps: int, peak: float, warmup: int) -> float:
    """Linear warm-up to `peak`, then a cosine down to a hundredth of it."""
    if step < warmup:
        return peak * (step + 1) / warmup
    part = (step - warmup) / max(1, steps - warmup)
    return peak * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * part)))


def train(
    model: LlamaForCausalLM,
    data: Iterator[tuple[torch.Tensor, torch.Tensor]],
    *,
    steps: int,
    learning_rate: float,
    warmup: int,
    log_every: int,
) -> Iterator[Progress]:
    """Train in place with AdamW on next-token prediction; yields a point every `log_every` steps.

    Deterministic for equal data, versions and number of threads. Loss is the mean since the last
    point, in nats per learnt token.
    """
    decayed = [p for p in model.parameters() if p.dim() > 1]
    plain = [p for p in model.parameters() if p.dim() == 1]
    groups = [{"params": decayed, "weight_decay": 0.1}, {"params": plain, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=learning_rate, betas=(0.9, 0.95))
    start, losses, tokens = time.perf_counter(), [], 0
    model.train()
    for step, (ids, labels) in enumerate(itertools.islice(data, steps)):
        rate = learning_rate_at(step, steps=steps, peak=learning_rate, warmup=warmup)
        for group in optimizer.param_groups:
            group["lr"] = rate
        loss = model(input_ids=ids, labels=labels, use_cache=False).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(loss.item())
        tokens += ids.numel()
        if (step + 1) % log_every == 0 or step + 1 == steps:
            mean = sum(losses) / len(losses)
            point = Progress(step + 1, tokens, mean, rate, time.perf_counter() - start)
            logger.info("%s", point)
            yield point
            losses = []
    model.eval()


def export(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, folder: Path, card: str
) -> None:
    """Write an ordinary checkpoint: config, float32 safetensors, tokenizer and the model card."""
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    # transformers 5 writes a class name that transformers 4 does not know
    path = folder / "tokenizer_config.json"
    settings = json.loads(path.read_text(encoding="utf-8"))
    settings["tokenizer_class"] = "PreTrainedTokenizerFast"
    path.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
    (folder / "README.md").write_text(card, encoding="utf-8")


@torch.inference_mode()
def same_after_reload(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, folder: Path
) -> bool:
    """Whether the checkpoint in a folder gives bit-identical logits and token ids."""
    text = "Question: What is two plus two? Answer: four"
    ids = tokenizer(text, return_tensors="pt")
    again = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    reread = AutoTokenizer.from_pretrained(folder)(text)["input_ids"]
    same_ids = reread == ids["input_ids"][0].tolist()
    return same_ids and torch.equal(model(**ids).logits, again(**ids).logits)
