"""Small GGUF files of a random Llama with the bench model's tokenizer, by the gguf package."""

import json
from pathlib import Path

import gguf
import numpy as np
import torch
from gguf import GGMLQuantizationType as Kind
from tiny_models import _build, _sizes
from transformers import LlamaConfig

from ppmlib import bench

NAMES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}


def _permuted(weight: np.ndarray, heads: int) -> np.ndarray:
    """Rows of q and k in llama.cpp's order: halves of each head interleaved."""
    rows, columns = weight.shape
    halves = weight.reshape(heads, 2, rows // heads // 2, columns)
    return halves.swapaxes(1, 2).reshape(rows, columns)


def write_gguf(
    path: Path,
    *,
    kind: Kind = Kind.Q8_0,
    file_type=gguf.LlamaFileType.MOSTLY_Q8_0,
    architecture: str = "llama",
    with_tokenizer: bool = True,
) -> Path:
    """A random Llama of hidden size 64, its matrices in blocks of `kind`."""
    tokens = json.loads((bench.model_dir("bench-small") / "tokenizer.json").read_text())
    vocabulary = tokens["model"]["vocab"] | {t["content"]: t["id"] for t in tokens["added_tokens"]}
    sizes = _sizes(96) | {"hidden_size": 64, "vocab_size": len(vocabulary)}
    model = _build(LlamaConfig(**sizes, tie_word_embeddings=True), 0, torch.float32)
    config = model.config
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_name("tiny")
    writer.add_file_type(file_type)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(len(vocabulary))
    if with_tokenizer:
        ordered = sorted(vocabulary, key=vocabulary.get)
        writer.add_tokenizer_model("gpt2")
        writer.add_token_list(ordered)
        special = {t["content"] for t in tokens["added_tokens"]}
        types = [gguf.TokenType.CONTROL if t in special else gguf.TokenType.NORMAL for t in ordered]
        writer.add_token_types(types)
        writer.add_token_merges([" ".join(pair) for pair in tokens["model"]["merges"]])
        writer.add_bos_token_id(0)
        writer.add_eos_token_id(1)
        writer.add_chat_template("{% for m in messages %}{{ m['content'] }}\n{% endfor %}")
    for name, weight in model.state_dict().items():
        array = weight.numpy()
        if name == "lm_head.weight":
            continue
        if name in ("model.embed_tokens.weight", "model.norm.weight"):
            name = {"model.embed_tokens.weight": "token_embd", "model.norm.weight": "output_norm"}[
                name
            ]
        else:
            layer, _, part = name.removeprefix("model.layers.").partition(".")
            part = part.removesuffix(".weight")
            if part.endswith("q_proj"):
                array = _permuted(array, config.num_attention_heads)
            if part.endswith("k_proj"):
                array = _permuted(array, config.num_key_value_heads)
            name = f"blk.{layer}.{NAMES[part]}"
        if array.ndim == 2 and kind != Kind.F32:
            writer.add_tensor(f"{name}.weight", gguf.quantize(array, kind), raw_dtype=kind)
        else:
            writer.add_tensor(f"{name}.weight", array)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
