"""Models of a published shape with random weights: for time, memory and energy, nothing else.

A study names one as `shape:llama-3.2-1b`. Time, memory and energy of a pass do not depend on the
values of the weights; the outputs do, so such a model is never evaluated. The weights are made
where they are used, in their dtype, from one seed; nothing is downloaded.
"""

from typing import Any

from ppmlib.model.checkpoint import ModelError
from ppmlib.record import records

PREFIX = "shape:"
SEED = 0
ATTENTION = "sdpa"

_LLAMA_3_2 = {
    "intermediate_size": 8192,
    "vocab_size": 128256,
    "num_key_value_heads": 8,
    "tie_word_embeddings": True,
    "max_position_embeddings": 131072,
    "rms_norm_eps": 1e-5,
    "bos_token_id": 128000,
    "eos_token_id": 128001,
}
# Keyword arguments of transformers' LlamaConfig, from the config.json of the model named.
SHAPES: dict[str, dict[str, Any]] = {
    "llama-3.2-1b": _LLAMA_3_2
    | {"hidden_size": 2048, "num_hidden_layers": 16, "num_attention_heads": 32, "head_dim": 64},
    "llama-3.2-3b": _LLAMA_3_2
    | {"hidden_size": 3072, "num_hidden_layers": 28, "num_attention_heads": 24, "head_dim": 128},
    "smollm2-135m": {
        "hidden_size": 576,
        "intermediate_size": 1536,
        "num_hidden_layers": 30,
        "num_attention_heads": 9,
        "num_key_value_heads": 3,
        "head_dim": 64,
        "vocab_size": 49152,
        "tie_word_embeddings": True,
        "max_position_embeddings": 8192,
        "rms_norm_eps": 1e-5,
        "bos_token_id": 0,
        "eos_token_id": 0,
    },
}


def is_shape(model: str) -> bool:
    """Whether a model id names a shape with random weights."""
    return model.startswith(PREFIX)


def config_of(model: str) -> dict[str, Any]:
    """The configuration that `shape:<name>` names. ModelError, listing the names, if none."""
    name = model.removeprefix(PREFIX)
    if name not in SHAPES:
        raise ModelError(f"unknown shape {name!r}: use one of {', '.join(SHAPES)}")
    return SHAPES[name]


def weights_sha256(model: str) -> str:
    """What identifies the random weights: the shape and the seed they are drawn with."""
    return records.fingerprint({"shape": config_of(model), "seed": SEED})


def build(model: str, dtype: str, device):
    """A Llama of this shape with seeded random weights, made on the device in its dtype.

    Nothing is held twice; rotary buffers stay in float32.

    Args:
        model: `shape:<name>`.
        dtype: of the weights, as torch calls it. device: where they are made.
    Raises:
        ModelError: for an unknown shape.
    """
    import torch
    from transformers import AutoModelForCausalLM, LlamaConfig

    config = LlamaConfig(**config_of(model), attention_bias=False, mlp_bias=False)
    place = torch.device(device)
    with torch.random.fork_rng([place] if place.type == "cuda" else []), place:
        torch.manual_seed(SEED)
        network = AutoModelForCausalLM.from_config(
            config, dtype=getattr(torch, dtype), attn_implementation=ATTENTION
        )
    return network.eval()
