"""Small random models of real architectures, made without touching the global random state."""

import torch
from transformers import AutoModelForCausalLM, LlamaConfig, Qwen2Config


def _build(config, seed, dtype):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        implementation = "eager" if config.model_type == "gemma2" else "sdpa"
        model = AutoModelForCausalLM.from_config(config, attn_implementation=implementation)
        # Biases start at zero and norms at one: make them matter.
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.dim() == 1:
                    parameter.add_(0.1 * torch.randn_like(parameter))
    return model.to(dtype).eval()


def _sizes(intermediate_size):
    return {
        "vocab_size": 99,
        "hidden_size": 48,
        "intermediate_size": intermediate_size,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 64,
    }


def llama(*, intermediate_size=192, seed=0, dtype=torch.float32, mlp_bias=False):
    config = LlamaConfig(
        **_sizes(intermediate_size), mlp_bias=mlp_bias, tie_word_embeddings=True, eos_token_id=1
    )
    return _build(config, seed, dtype)


def qwen2(*, intermediate_size=170, seed=0, dtype=torch.float32):
    return _build(Qwen2Config(**_sizes(intermediate_size), eos_token_id=1), seed, dtype)


def token_ids(model, rows=2, length=9, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(model.config.vocab_size, (rows, length), generator=generator)
