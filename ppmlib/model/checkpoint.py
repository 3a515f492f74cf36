"""What a model's folder says about itself, read without torch: weights, GLU shape, tokenizer.

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

WEIGHTS = "model.safetensors"
WEIGHTS_INDEX = "model.safetensors.index.json"
PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt")
EXPERT_COUNTS = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts")
LARGEST_HEADER = 100_000_000  # bytes, the format's own limit
VALUES_AT_ONCE = 1 << 22
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
GATE = re.compile(r"(?:^|\.)layers\.(\d+)\.(?:[\w.]+\.)?gate_proj\.weight$")
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
        raise ModelError(f"{_short(file)} is no JSON ({error}): fetch it again") from None
    if not isinstance(content, dict):
        raise ModelError(f"{_short(file)} holds no JSON object")
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
        ModelError: for a file that is no safetensors file, or is longer or shorter than its header
            says, and for a tensor that is in two files.
    """
    found = {}
    for file in weight_files(folder):
        tensors = _header(file)
        if twice := sorted({*found} & {*tensors}):
            raise ModelError(
                f"{_short(file)} has {twice[0]}, which another file of the model has too: which of "
                "them is loaded is not known; fetch or convert the weights again"
            )
        found |= tensors
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
    damaged = ModelError(f"{_short(file)} has a damaged header: fetch it again")
    try:
        entries = json.loads(header)
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError):
        raise damaged from None
    entries.pop("__metadata__", None)
    if not all(_is_entry(entry) for entry in entries.values()):
        raise damaged
    tensors = {name: tuple(entry["shape"]) for name, entry in entries.items()}
    end = max((entry["data_offsets"][1] for entry in entries.values()), default=0)
    if size != 8 + length + end:
        what = "cut short" if size < 8 + length + end else "longer than its header says"
        raise ModelError(
            f"{_short(file)} is {what}: {size} of {8 + length + end} bytes; fetch it again"
        )
    return tensors


def _is_entry(entry: Any) -> bool:
    """Whether a header's entry has a shape, and where its tensor begins and ends."""
    if not isinstance(entry, dict):
        return False
    shape, offsets = entry.get("shape"), entry.get("data_offsets")
    return (
        isinstance(shape, list)
        and isinstance(offsets, list)
        and len(offsets) == 2
        and all(_is_count(number) for number in (*shape, *offsets))
    )


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


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
    for name in SETTINGS_FILES:
        if (folder / name).is_file():
            read_json(folder / name)
    config = read_json(folder / "config.json")
    _check_own_code(config, model)
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
    return sum(int(part.to(kind).isinf().sum())
               for part in weights.reshape(-1).split(VALUES_AT_ONCE))  # fmt: skip


def _check_layers(
    tensors: Mapping[str, tuple[int, ...]],
    config: Mapping[str, Any],
    text: Mapping[str, Any],
    model: str,
) -> None:
    gates = {int(found[1]): name for name in tensors if (found := GATE.search(name))}
    if not gates:
        raise ModelError(
            f"{model!r} ({config.get('model_type')}) has no separate gate_proj weights, so no GLU "
            "MLPs that can be sliced by neuron: choose a Llama-like model"
        )
    for name in ("intermediate_size", "hidden_size", "num_hidden_layers"):
        if not _is_count(text.get(name)):
            raise ModelError(f"{model!r}: config.json has no whole number {name}")
    neurons, hidden, layers = (
        text[name] for name in ("intermediate_size", "hidden_size", "num_hidden_layers")
    )
    if sorted(gates) != list(range(layers)):
        raise ModelError(
            f"{model!r}: config.json says {layers} layers, the weights have {len(gates)} with GLU "
            "MLPs: take the config.json that came with the weights, or another model"
        )
    said = {"gate_proj": (neurons, hidden), "up_proj": (neurons, hidden)}
    for layer, gate in sorted(gates.items()):
        for part, shape in (said | {"down_proj": (hidden, neurons)}).items():
            found = tensors.get(gate.replace("gate_proj", part))
            if found != shape:
                has = "is missing" if found is None else f"has shape {found}"
                raise ModelError(
                    f"{model!r}: {part} of layer {layer} {has}, config.json says {shape}: every "
                    "layer must have the width that config.json says"
                )


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
    core, added = content.get("model"), content.get("added_tokens") or []
    vocabulary = core.get("vocab") if isinstance(core, dict) else None
    if isinstance(vocabulary, dict) and isinstance(added, list):
        ids = [*vocabulary.values(), *(t.get("id") for t in added if isinstance(t, dict))]
    elif isinstance(vocabulary, list) and isinstance(added, list):
        ids = [*range(len(vocabulary)), *(t.get("id") for t in added if isinstance(t, dict))]
    else:
        ids = [None]
    if not all(_is_count(one) for one in ids):
        raise ModelError(f"{_short(file)} has no vocabulary of numbered tokens: fetch it again")
    return ids


def _short(file: Path) -> str:
    return f"{file.parent.name}/{file.name}"
