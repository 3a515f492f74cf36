"""Small random models of dense GLU families, made from the families' own configuration classes."""

import torch
from tiny_models import _build
from transformers import AutoConfig

WINDOW = 8
SIZES = {
    "vocab_size": 99,
    "hidden_size": 48,
    "intermediate_size": 96,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 12,
    "max_position_embeddings": 64,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": 2,
}
MIXED = ["sliding_attention", "sliding_attention", "sliding_attention", "full_attention"]
CONVOLVED = ["conv", "full_attention", "conv", "full_attention"]

# By family: what its configuration is given besides SIZES.
FAMILIES = {
    "llama": {"tie_word_embeddings": True},
    "llama-bias": {"mlp_bias": True, "attention_bias": True, "head_dim": 16},
    "qwen2": {},
    "qwen2-window": {"use_sliding_window": True, "sliding_window": WINDOW, "max_window_layers": 2},
    "qwen3": {},
    "mistral": {"sliding_window": None},
    "mistral-window": {"sliding_window": WINDOW},
    "ministral": {"sliding_window": WINDOW, "layer_types": MIXED},
    "ministral3": {"sliding_window": None},
    "gemma": {},
    "gemma2": {
        "sliding_window": WINDOW,
        "final_logit_softcapping": 5.0,
        "attn_logit_softcapping": 10.0,
    },
    "gemma3_text": {"sliding_window": WINDOW, "layer_types": MIXED},
    "cohere": {"logit_scale": 0.25},
    "cohere2": {"logit_scale": 0.25, "sliding_window": WINDOW, "layer_types": MIXED},
    "olmo": {},
    "olmo2": {},
    "olmo3": {"sliding_window": WINDOW, "layer_types": MIXED},
    "exaone4": {"sliding_window": WINDOW, "sliding_window_pattern": 4, "layer_types": MIXED},
    "granite": {"logits_scaling": 4.0, "embedding_multiplier": 3.0, "residual_multiplier": 0.5},
    "hyperclovax": {"logits_scaling": 0.5},
    "helium": {},
    "smollm3": {},
    "stablelm": {"hidden_size": 64, "head_dim": 16},
    "seed_oss": {},
    "ernie4_5": {},
    "phi3": {"sliding_window": None},
    "phi3-window": {"sliding_window": WINDOW},
    "phi3-phi4": {"sliding_window": None, "partial_rotary_factor": 0.5, "num_key_value_heads": 1},
    "glm": {},
    "glm4": {},
    "lfm2": {"layer_types": CONVOLVED, "block_auto_adjust_ff_dim": False},
    "lfm2-computed": {"layer_types": CONVOLVED, "intermediate_size": 140, "block_multiple_of": 32},
}

# What model types are called by those who publish them.
TITLES = {
    "cohere": "Command R",
    "cohere2": "Command R7B, Command A",
    "ernie4_5": "ERNIE 4.5",
    "exaone4": "EXAONE 4",
    "gemma": "Gemma",
    "gemma2": "Gemma 2",
    "gemma3_text": "Gemma 3",
    "glm": "GLM",
    "glm4": "GLM-4",
    "granite": "Granite",
    "helium": "Helium",
    "hyperclovax": "HyperCLOVA X",
    "lfm2": "LFM2",
    "llama": "Llama",
    "ministral": "Ministral",
    "ministral3": "Ministral 3",
    "mistral": "Mistral",
    "olmo": "OLMo",
    "olmo2": "OLMo 2",
    "olmo3": "OLMo 3",
    "phi3": "Phi-3, Phi-4",
    "qwen2": "Qwen2, Qwen2.5",
    "qwen3": "Qwen3",
    "seed_oss": "Seed-OSS",
    "smollm3": "SmolLM3",
    "stablelm": "StableLM",
}


def model_type(name: str) -> str:
    """The model type, as config.json has it, of a name in FAMILIES."""
    return name.partition("-")[0]


def family(name: str, *, seed: int = 0, dtype=torch.float32, **changes):
    """A small random model of a family, its attention SDPA where it has that."""
    config = AutoConfig.for_model(model_type(name), **{**SIZES, **FAMILIES[name], **changes})
    return _build(config, seed, dtype)
