"""Which engine evaluates a model: `fast` where it gives lm-eval's numbers, else `plain`.

Decided from the model's configuration, before any weights are read.
"""

from typing import Any

AUTO, FAST, PLAIN = "auto", "fast", "plain"
FULL, SLIDING = "full_attention", "sliding_attention"
ROPE_BY_LENGTH = ("dynamic", "longrope")

# Families (model_type) on which tests/test_families.py holds the engine against lm-eval's own.
PROVEN = frozenset(
    {
        "arcee",
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
    """Kinds of the decoder's layers, such as `full_attention` and `sliding_attention`."""
    if getattr(config, "layer_types", None):
        return frozenset(config.layer_types)
    if getattr(config, "sliding_window", None) is not None:
        return frozenset({SLIDING})
    return frozenset(
        {"chunked_attention" if getattr(config, "attention_chunk_size", None) else FULL}
    )


def why_not_fast(config: Any) -> str | None:
    """Why `engine: fast` cannot run a model of this (text) configuration; None if it can."""
    if config.model_type not in PROVEN:
        return f"no test holds it against lm-eval on models of the family {config.model_type}"
    if others := sorted(layer_kinds(config) - {FULL, SLIDING}):
        return f"layers of the kind {', '.join(others)} mix tokens that no mask keeps apart"
    rope = getattr(config, "rope_parameters", None) or {}
    kinds = [rope, *(part for part in rope.values() if isinstance(part, dict))]
    if any(part.get("rope_type") in ROPE_BY_LENGTH for part in kinds):
        return "the positions of a token depend on the length of its sequence"
    return None


def choose(engine: str, config: Any) -> tuple[str, str | None]:
    """The engine that runs, and why it is not `fast` where the study left the choice.

    Args:
        engine: auto, fast or plain.
        config: the model's (text) configuration.
    """
    if engine != AUTO:
        return engine, None
    reason = why_not_fast(config)
    return (PLAIN, reason) if reason else (FAST, None)
