"""Which engine evaluates a model: `fast` where it gives lm-eval's numbers, else `plain`.

Decided from the model's configuration, before any weights are read.
"""

from collections.abc import Mapping
from typing import Any

AUTO, FAST, PLAIN = "auto", "fast", "plain"
FULL, SLIDING = "full_attention", "sliding_attention"
ROPE_BY_LENGTH = ("dynamic", "longrope")

# Families (model_type) on which tests/test_families.py holds the engine against lm-eval's own.
PROVEN = frozenset(
    {
        "cohere",
        "cohere2",
        "ernie4_5",
        "exaone4",
        "gemma",
        "gemma2",
        "gemma3_text",
        "glm",
        "glm4",
        "granite",
        "helium",
        "hyperclovax",
        "llama",
        "ministral",
        "ministral3",
        "mistral",
        "olmo",
        "olmo2",
        "olmo3",
        "phi3",
        "qwen2",
        "qwen3",
        "seed_oss",
        "smollm3",
        "stablelm",
    }
)


def layer_kinds(config: Any) -> frozenset[str]:
    """Kinds of a decoder's layers, such as `full_attention`, by its configuration object."""
    if getattr(config, "layer_types", None):
        return frozenset(config.layer_types)
    sliding = getattr(config, "sliding_window", None) is not None
    return frozenset({SLIDING if sliding else FULL})


def why_not_fast(config: Mapping[str, Any]) -> str | None:
    """Why `engine: fast` cannot run a model of this configuration (text part); None if it can."""
    family = config.get("model_type")
    if family not in PROVEN:
        return f"no test holds it against lm-eval on models of the family {family}"
    if others := sorted({*(config.get("layer_types") or ())} - {FULL, SLIDING}):
        return f"layers of the kind {', '.join(others)} mix tokens that no mask keeps apart"
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    for part in (rope, *(part for part in rope.values() if isinstance(part, dict))):
        if (part.get("rope_type") or part.get("type")) in ROPE_BY_LENGTH:
            return "the positions of a token depend on the length of its sequence"
    return None


def choose(engine: str, config: Mapping[str, Any]) -> tuple[str, str | None]:
    """The engine that runs, and why it is not `fast` where the study leaves the choice.

    Args:
        engine: auto, fast or plain.
        config: the model's configuration, its text part.
    """
    if engine != AUTO:
        return engine, None
    reason = why_not_fast(config)
    return (PLAIN, reason) if reason else (FAST, None)
