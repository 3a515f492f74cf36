"""Models of a published shape with random weights: for time, memory and energy, nothing else.

A study names one as `shape:llama-3.2-1b`. Time, memory and energy of a pass do not depend on the
values of the weights; the outputs do, so such a model is never evaluated. The weights are made
where they are used, in their dtype, from one seed; nothing is downloaded.
"""

from pathlib import Path
from typing import Any

import yaml

from ppmlib.model.checkpoint import ModelError
from ppmlib.record import records

PREFIX = "shape:"
SEED = 0
ATTENTION = "sdpa"

SHAPES: dict[str, dict[str, Any]] = yaml.safe_load(
    Path(__file__).with_name("shapes.yaml").read_text(encoding="utf-8")
)


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
