"""Checks of a model's folder without torch: weights, GLU shape, tokenizer.

All but `check_finite` read headers only, so that a study can be refused in a second, before a
kernel starts.

shapes         names and shapes of all tensors; refuses damaged, cut short and missing files
check          whether the model has GLU MLPs that can be sliced, and a tokenizer that fits
check_finite   whether every weight is a number; reads them all, with torch
"""

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ppmlib.model import layouts

WEIGHTS = "model.safetensors"
WEIGHTS_INDEX = "model.safetensors.index.json"
PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt")
EXPERT_COUNTS = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts")
VALUES_AT_ONCE = 1 << 22
# Words of safetensors' errors about a header, and what they mean for the file.
HEADER_ERRORS = {
    "not fully covered": "does not have the size that its header states",
    "invalid header length": "is not a safetensors file, or is cut short in its header",
    "header too": "is not a safetensors file",
}
# All that transformers reads a tokenizer and its chat templates from.
TOKENIZER_FILES = (
    "added_tokens.json",
    "additional_chat_templates/*.jinja",
    "chat_template.*",
    "merges.txt",
    "special_tokens_map.json",
    "*.model",
    "tekken.json",
    "tokenizer*.json",
    "tokenizer.model*",
    "vocab*",
)
GENERATION_FILE = "generation_config.json"
SETTINGS_FILES = (GENERATION_FILE, "special_tokens_map.json", "tokenizer_config.json")
EMBEDDINGS = re.compile(r"(?:^|\.)embed_tokens\.weight$")


class ModelError(Exception):
    """A model cannot be found, read or used; the message says what to do."""


def read_json(file: Path) -> dict[str, Any]:
    """A JSON object of a model's folder. ModelError naming the file if it is not one."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ModelError(f"{_short(file)} cannot be read: {error.strerror}") from None
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise ModelError(f"{_short(file)} is not valid JSON ({error}): fetch it again") from None
    if not isinstance(content, dict):
        raise ModelError(f"{_short(file)} is not a JSON object")
    return content


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files that make up a model: the single one, or those of its index.

    Where a folder has both, transformers loads the single one.
    """
    index = Path(folder) / WEIGHTS_INDEX
    if (Path(folder) / WEIGHTS).is_file() or not index.is_file():
        return [Path(folder) / WEIGHTS]
    names = read_json(index).get("weight_map")
    if not isinstance(names, dict) or not all(
        isinstance(name, str) and name == Path(name).name for name in names.values()
    ):
        raise ModelError(f"{_short(index)} has no weight_map of file names: fetch it again")
    return [Path(folder) / name for name in sorted(set(names.values()))]


def tokenizer_files(folder: Path) -> list[Path]:
    """The files of a folder that a tokenizer and its chat templates are read from."""
    found = {file for pattern in TOKENIZER_FILES for file in Path(folder).glob(pattern)}
    return sorted(file for file in found if file.is_file())


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
        ModelError: for a file that is not a safetensors file, does not have the size that its
            header states, or has a tensor that another file has too.
    """
    found = {}
    for file in weight_files(folder):
        tensors = _read_shapes(file)
        if twice := sorted({*found} & {*tensors}):
            raise ModelError(
                f"{_short(file)} has {twice[0]}, which another file of the model has too, and it "
                "is not known which of them is loaded: fetch or convert the weights again"
            )
        found |= tensors
    return found


def _read_shapes(file: Path) -> dict[str, tuple[int, ...]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="numpy") as tensors:
            return {name: tuple(tensors.get_slice(name).get_shape()) for name in tensors.keys()}
    except SafetensorError as error:
        found = (reason for words, reason in HEADER_ERRORS.items() if words in str(error))
        reason = next(found, "has a damaged header")
        size = f"{file.stat().st_size:,} bytes"
        raise ModelError(f"{_short(file)} {reason} ({size}): fetch or convert it again") from None


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def text_config(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The part of config.json that describes the language model."""
    inner = config.get("text_config")
    return inner if isinstance(inner, dict) else config


def check(folder: Path, model: str) -> None:
    """Refuse a model that could not be pruned or run.

    Raises:
        ModelError: for a mixture of experts, custom code, layers without a GLU, or a
            tokenizer with more tokens than the model embeds.
    """
    for name in SETTINGS_FILES:
        if (folder / name).is_file():
            read_json(folder / name)
    config = read_json(folder / "config.json")
    _check_custom_code(config, model)
    text = text_config(config)
    for name in EXPERT_COUNTS:
        if text.get(name) not in (None, 0, 1):
            raise ModelError(
                f"{model!r} is a mixture of experts ({name} is {text[name]}); only dense GLU MLPs "
                "can be sliced: choose a dense model"
            )
    tensors = shapes(folder)
    _check_layers(tensors, config, text, model)
    _check_tokenizer(folder, model, tensors)


def check_finite(folder: Path, model: str, dtype: str) -> None:
    """Refuse weights with a NaN or an infinite value among them; they are read from a memory map.

    Args:
        dtype: that they are loaded in; float16 ends at 65504.
    Raises:
        ModelError: naming the first such tensor, its file, and how many of its values.
    """
    import torch
    from safetensors import safe_open

    wrong, kind = [], getattr(torch, dtype)
    for file in weight_files(folder):
        with safe_open(file, framework="pt") as tensors:
            for name in tensors.keys():
                weights = tensors.get_tensor(name)
                count = count_not_finite(weights)
                if count is None and (too_large := _count_overflows(weights, kind)):
                    raise ModelError(
                        f"{model!r}: {name} in {file.name} has {too_large:,} values that {dtype} "
                        "cannot hold: set model.dtype to another one, such as bfloat16 or float32"
                    )
                wrong += [f"{name} in {file.name} has {count}"] if count else []
    if wrong:
        others = f" (and {len(wrong) - 1} more tensors have such values)" if wrong[1:] else ""
        raise ModelError(f"{model!r}: {wrong[0]}{others}: fetch or convert the weights again")


def count_not_finite(weights: Any) -> str | None:
    """How many values of a tensor are NaN and infinite, in words; None if all are finite."""
    nan = infinite = 0
    for part in weights.detach().reshape(-1).split(VALUES_AT_ONCE):
        part = part.float() if part.itemsize == 1 else part  # float8 has no sum
        # One read, at several times the speed of isfinite. A sum that overflows is counted too.
        if not part.sum().isfinite():
            nan += int(part.isnan().sum())
            infinite += int(part.isinf().sum())
    return f"{nan:,} NaN and {infinite:,} infinite values" if nan or infinite else None


def _count_overflows(weights: Any, kind: Any) -> int:
    """How many finite values become infinite in another floating type."""
    import torch

    if not weights.is_floating_point() or weights.itemsize <= 1:
        return 0
    if torch.finfo(kind).max >= torch.finfo(weights.dtype).max:
        return 0
    parts = weights.reshape(-1).split(VALUES_AT_ONCE)
    return sum(int(part.to(kind).isinf().sum()) for part in parts)


def _check_layers(
    tensors: Mapping[str, tuple[int, ...]],
    config: Mapping[str, Any],
    text: Mapping[str, Any],
    model: str,
) -> None:
    layout = layouts.find_in(tensors)
    if layout is None:
        raise ModelError(
            f"{model!r} ({config.get('model_type')}) has no GLU MLPs ({layouts.describe()}) that "
            "can be sliced by neuron: choose a Llama-like model"
        )
    sizes = {name: text.get(name) for name in ("hidden_size", "num_hidden_layers")}
    for name, size in {"intermediate_size": layouts.neurons(text), **sizes}.items():
        if not _is_count(size):
            raise ModelError(f"{model!r}: config.json has no whole number {name}")
    hidden, layers = sizes.values()
    found = {layouts.place(name): shape for name, shape in tensors.items()}
    layers_found = sorted(
        place.layer for place in found if place and place[1:] == (layout.gate, "weight")
    )
    if layers_found != list(range(layers)):
        raise ModelError(
            f"{model!r}: config.json has {layers} layers, the weights have {len(layers_found)} "
            "with GLU MLPs: take the config.json that came with the weights, or another model"
        )
    for layer in layers_found:
        for part, shape in layout.shapes(layouts.neurons(text), hidden).items():
            other = found.get((layer, part, "weight"))
            if other != shape:
                mistake = "is missing" if other is None else f"has shape {other}"
                raise ModelError(
                    f"{model!r}: {part} of layer {layer} {mistake}, config.json says {shape}: "
                    "every layer must have the width that config.json says"
                )


def _check_custom_code(config: Mapping[str, Any], model: str) -> None:
    if "auto_map" not in config:
        return
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

    if config.get("model_type") not in CONFIG_MAPPING_NAMES:
        raise ModelError(
            f"{model!r} ({config.get('model_type')}) needs custom code (auto_map), which is "
            "never run: choose a model that transformers supports"
        )


def _check_tokenizer(folder: Path, model: str, tensors: Mapping[str, tuple[int, ...]]) -> None:
    if not tokenizer_files(folder):
        raise ModelError(f"{model!r} has no tokenizer files: fetch those of the model")
    file = folder / "tokenizer.json"
    rows = [shape[0] for name, shape in tensors.items() if EMBEDDINGS.search(name)]
    if not rows:
        raise ModelError(f"{model!r}: the weights have no embed_tokens: fetch them again")
    if not file.is_file():
        return  # transformers decides when it loads the others
    largest = max(_token_ids(file), default=-math.inf)
    if largest >= rows[0]:
        raise ModelError(
            f"{model!r}: the tokenizer has token {largest}, the model embeds {rows[0]}; they do "
            "not belong together: take the tokenizer that came with the weights"
        )


def _token_ids(file: Path) -> list[int]:
    """The ids of all tokens of a tokenizer.json."""
    content = read_json(file)
    try:
        vocabulary = content["model"]["vocab"]
        ids = list(vocabulary.values() if isinstance(vocabulary, dict) else range(len(vocabulary)))
        ids += [token["id"] for token in content.get("added_tokens") or []]
    except (KeyError, TypeError):
        ids = [None]
    if not all(_is_count(one) for one in ids):
        raise ModelError(f"{_short(file)} has no vocabulary of numbered tokens: fetch it again")
    return ids


def _short(file: Path) -> str:
    return f"{file.parent.name}/{file.name}"
