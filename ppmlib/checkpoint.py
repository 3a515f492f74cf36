"""What a model's folder says about itself, read without torch: weights, GLU shape, tokenizer.

Only headers are read, so that a study can be refused in a second, before a kernel starts.

shapes   names and shapes of all tensors; refuses damaged, cut short and missing files
check    whether the model has GLU MLPs that can be sliced, and a tokenizer that fits
"""

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

WEIGHTS = "model.safetensors"
WEIGHTS_INDEX = "model.safetensors.index.json"
PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt")
EXPERT_COUNTS = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts")
LARGEST_HEADER = 100_000_000  # bytes, the format's own limit
GATE = re.compile(r"(?:^|\.)layers\.(\d+)\.(?:[\w.]+\.)?gate_proj\.weight$")
EMBEDDINGS = re.compile(r"(?:^|\.)embed_tokens\.weight$")


class ModelError(Exception):
    """A model cannot be found, read or used; the message says what to do."""


def read_json(file: Path) -> dict[str, Any]:
    """A JSON object of a model's folder. ModelError naming the file if it is not one."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ModelError(f"{_short(file)} cannot be read: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise ModelError(f"{_short(file)} holds no JSON object")
    return content


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files that make up a model: those of its index, or the single one."""
    index = Path(folder) / WEIGHTS_INDEX
    if not index.is_file():
        return [Path(folder) / WEIGHTS]
    names = read_json(index).get("weight_map")
    if not isinstance(names, dict):
        raise ModelError(f"{_short(index)} has no weight_map")
    return [Path(folder) / name for name in sorted(set(names.values()))]


def check_present(folder: Path, model: str) -> None:
    """ModelError unless all safetensors files are there; pickled ones are named as such."""
    files = weight_files(folder)
    missing = [file.name for file in files if not file.is_file()]
    if not missing:
        return
    if len(missing) < len(files):
        raise ModelError(f"{model!r} is incomplete: {', '.join(missing)} missing")
    if any(any(folder.glob(pattern)) for pattern in PICKLED):
        raise ModelError(
            f"{model!r} has pickled weights only, which can run code when they are read; "
            "convert them to safetensors"
        )
    raise ModelError(
        f"{model!r} has no safetensors weights ({missing[0]} missing); pickled ones are not read"
    )


def shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    """Shape of every tensor by name, from the headers of all weight files.

    Raises:
        ModelError: for a file that is no safetensors file, or is longer or shorter than its header
            says.
    """
    found = {}
    for file in weight_files(folder):
        found |= _header(file)
    return found


def _header(file: Path) -> dict[str, tuple[int, ...]]:
    size = file.stat().st_size
    with open(file, "rb") as handle:
        length = int.from_bytes(handle.read(8), "little")
        if length > LARGEST_HEADER or handle.read(1) != b"{":
            raise ModelError(f"{_short(file)} is no safetensors file: fetch or convert it again")
        header = b"{" + handle.read(length - 1)
    if len(header) < length:
        raise ModelError(f"{_short(file)} is cut short in its header: fetch it again")
    try:
        entries = json.loads(header)
        entries.pop("__metadata__", None)
        tensors = {name: tuple(entry["shape"]) for name, entry in entries.items()}
        end = max((entry["data_offsets"][1] for entry in entries.values()), default=0)
    except (UnicodeDecodeError, json.JSONDecodeError, AttributeError, KeyError, TypeError):
        raise ModelError(f"{_short(file)} has a damaged header: fetch it again") from None
    if size != 8 + length + end:
        what = "cut short" if size < 8 + length + end else "longer than its header says"
        raise ModelError(
            f"{_short(file)} is {what}: {size} of {8 + length + end} bytes; fetch it again"
        )
    return tensors


def text_config(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The part of config.json that describes the language model."""
    inner = config.get("text_config")
    return inner if isinstance(inner, dict) else config


def check(folder: Path, model: str) -> None:
    """Refuse a model that could not be pruned or run.

    Raises:
        ModelError: for a mixture of experts, code of its own, layers without gate_proj, or a
            tokenizer with more tokens than the model embeds.
    """
    config = read_json(folder / "config.json")
    _check_own_code(config, model)
    text = text_config(config)
    for name in EXPERT_COUNTS:
        if (text.get(name) or 0) > 1:
            raise ModelError(
                f"{model!r} is a mixture of experts ({name} is {text[name]}); only dense GLU MLPs "
                "can be sliced: choose a dense model"
            )
    tensors = shapes(folder)
    gates = {int(m[1]): shape for name, shape in tensors.items() if (m := GATE.search(name))}
    if not gates:
        raise ModelError(
            f"{model!r} ({config.get('model_type')}) has no separate gate_proj weights, so no GLU "
            "MLPs that can be sliced by neuron: choose a Llama-like model"
        )
    for name in ("intermediate_size", "hidden_size"):
        if not isinstance(text.get(name), int):
            raise ModelError(f"{model!r}: config.json has no whole number {name}")
    said = (text["intermediate_size"], text["hidden_size"])
    odd = sorted(layer for layer, shape in gates.items() if shape != said)
    if odd:
        raise ModelError(
            f"{model!r}: gate_proj of layer {odd[0]} has shape {gates[odd[0]]}, config.json says "
            f"{said}: every layer must have the width that config.json says"
        )
    _check_tokenizer(folder, model, tensors)


def _check_own_code(config: Mapping[str, Any], model: str) -> None:
    if "auto_map" not in config:
        return
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

    if config.get("model_type") not in CONFIG_MAPPING_NAMES:
        raise ModelError(
            f"{model!r} ({config.get('model_type')}) needs code of its own (auto_map), which is "
            "never run: choose a model that transformers knows"
        )


def _check_tokenizer(folder: Path, model: str, tensors: Mapping[str, tuple[int, ...]]) -> None:
    file = folder / "tokenizer.json"
    rows = [shape[0] for name, shape in tensors.items() if EMBEDDINGS.search(name)]
    if not file.is_file() or not rows:
        return  # transformers decides when it loads them
    content = read_json(file)
    vocabulary = (content.get("model") or {}).get("vocab") or {}
    ids = vocabulary.values() if isinstance(vocabulary, dict) else range(len(vocabulary))
    added = [token["id"] for token in content.get("added_tokens") or []]
    largest = max([*ids, *added], default=-math.inf)
    if largest >= rows[0]:
        raise ModelError(
            f"{model!r}: the tokenizer has token {largest}, the model embeds {rows[0]}; they do "
            "not belong together: take the tokenizer that came with the weights"
        )


def _short(file: Path) -> str:
    return f"{file.parent.name}/{file.name}"
