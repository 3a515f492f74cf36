"""Models with the shapes of real ones and made-up weights, and the memory's own speed."""

import time

import torch
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

SHAPES = {
    "small": dict(hidden_size=256, intermediate_size=1024, num_hidden_layers=6,
                  num_attention_heads=8, num_key_value_heads=4, vocab_size=8192),
    "1B": dict(hidden_size=2048, intermediate_size=8192, num_hidden_layers=16,
               num_attention_heads=32, num_key_value_heads=8, vocab_size=128256),
    "3B": dict(hidden_size=3072, intermediate_size=8192, num_hidden_layers=28,
               num_attention_heads=24, num_key_value_heads=8, vocab_size=128256),
}  # fmt: skip
NOISE_VALUES = 1 << 24


def build(shape: str, dtype: torch.dtype = torch.bfloat16, seed: int = 0) -> LlamaForCausalLM:
    """A Llama of this shape, tied embeddings, weights tiled from one block of normal noise."""
    config = LlamaConfig(
        **SHAPES[shape], max_position_embeddings=8192, tie_word_embeddings=True,
        bos_token_id=1, eos_token_id=2, rope_theta=500000.0,
    )  # fmt: skip
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(NOISE_VALUES, generator=generator).mul_(0.02).to(dtype)
    with torch.device("meta"):
        model = LlamaForCausalLM(config).to(dtype)
    model.to_empty(device="cpu")
    model.tie_weights()
    model.model.rotary_emb = LlamaRotaryEmbedding(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter.fill_(1.0)
                continue
            flat = parameter.view(-1)
            shift = int(torch.randint(NOISE_VALUES, (1,), generator=generator))
            for first in range(0, len(flat), NOISE_VALUES):
                part = flat[first : first + NOISE_VALUES]
                part.copy_(noise.roll(shift + first)[: len(part)])
    return model.eval()


def read_bandwidth(repeats: int = 5) -> float:
    """Bytes per second of the largest value of half a gigabyte of integers; fastest repeat."""
    numbers = torch.ones(2**26, dtype=torch.int64)
    best = float("inf")
    for _ in range(repeats):
        started = time.perf_counter()
        numbers.amax()
        best = min(best, time.perf_counter() - started)
    return numbers.nbytes / best


def process_bytes(field: str) -> int:
    """A line of /proc/self/status in bytes: VmRSS, VmHWM, RssAnon."""
    for line in open("/proc/self/status"):
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise KeyError(field)


def reset_peak() -> None:
    """Let VmHWM start again from what the process holds now."""
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")
