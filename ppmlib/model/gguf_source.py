"""A GGUF file as a model: dequantised once into an ordinary folder of safetensors.

The folder lies in the Hugging Face cache under the file's hash. Weights are those of transformers'
own GGUF loader, in float32, so that nothing is rounded twice; tokenizer and chat template are the
ones that the file carries. `gguf.json` in the folder says where it comes from.
"""

import json
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from ppmlib.model.checkpoint import ModelError, read_json
from ppmlib.model.quiet import no_loading_bars
from ppmlib.record import records

SUFFIX = ".gguf"
NOTE_FILE = "gguf.json"  # in the folder: file, sha256, file_type, architecture
TOKENS = "tokenizer.ggml.tokens"
# What the gguf package raises on a file that is not, or not wholly, GGUF.
UNREADABLE = (ValueError, KeyError, IndexError, OverflowError, UnicodeDecodeError, OSError)


@dataclass(frozen=True)
class Source:
    """What a GGUF file holds: file type such as `Q4_1`, and architecture such as `llama`."""

    file: str
    sha256: str
    file_type: str
    architecture: str


def is_gguf(model: str) -> bool:
    """Whether a model's id names a GGUF file."""
    return model.lower().endswith(SUFFIX)


def read_source(folder: Path) -> Source | None:
    """Where a model's folder was dequantised from; None for any other folder."""
    note = Path(folder, NOTE_FILE)
    return Source(**read_json(note)) if note.is_file() else None


def name_of(folder: Path) -> str:
    """How records and pages name the model in a folder: with the quantisation its weights had."""
    folder = Path(folder).resolve()
    source = read_source(folder)
    return f"{folder.name} (dequantised from {source.file_type})" if source else folder.name


def dequantise(
    file: Path, model: str, *, sha256: str | None = None, tell: Callable[[str], None] = print
) -> Path:
    """The safetensors folder of a GGUF file, made at the first call.

    A run that is stopped leaves nothing half made; the next one starts again.

    Args:
        file: the GGUF file.
        model: how the study names it, for messages.
        sha256: the hash that the file must have; None: any.
        tell: called with a line before the work, which takes about as long as loading the model.
    Raises:
        ModelError: where the file is missing or damaged, has another hash or no tokenizer, or an
            architecture or quantisation that transformers cannot read; without the gguf package.
    """
    from huggingface_hub.constants import HF_HOME

    file = Path(file)
    if not file.is_file():
        raise ModelError(f"{model!r}: there is no such file")
    found = records.sha256_file(file)
    if sha256 not in (None, found):
        raise ModelError(f"{model!r} has the sha256 {found}, not {sha256}: fetch it again")
    folder = Path(HF_HOME, "ppmlib", "gguf", found[:16], file.stem)
    if not (folder / NOTE_FILE).is_file():
        source = _inspect(file, model, found)
        tell(f"{model}: dequantising {source.file_type} weights once, into {folder}")
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
            made = Path(scratch, file.stem)
            _convert(file, made, model)
            records.write_json(made / NOTE_FILE, asdict(source))
            shutil.rmtree(folder, ignore_errors=True)
            made.rename(folder)
    return folder


def _inspect(file: Path, model: str, sha256: str) -> Source:
    try:
        from gguf import GGMLQuantizationType, GGUFReader, LlamaFileType
        from gguf.quants import _type_traits as readable
    except ModuleNotFoundError:
        raise ModelError(f"{model!r} is a GGUF file: pip install 'ppmlib[gguf]'") from None
    try:
        reader = GGUFReader(file)
        architecture, kind = (
            reader.fields[name].contents() if name in reader.fields else None
            for name in ("general.architecture", "general.file_type")
        )
        kinds = {tensor.tensor_type for tensor in reader.tensors}
    except UNREADABLE as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ModelError(f"{model!r} is damaged or not GGUF ({reason}): fetch it again") from None
    if architecture not in _architectures():
        raise ModelError(f"{model!r}: transformers cannot read GGUF files of {architecture!r}")
    plain = {GGMLQuantizationType.F32, GGMLQuantizationType.F16}
    if unknown := sorted(found.name for found in kinds - plain - set(readable)):
        raise ModelError(
            f"{model!r}: weights of the kind {', '.join(unknown)} cannot be dequantised"
        )
    if TOKENS not in reader.fields:
        raise ModelError(f"{model!r} carries no tokenizer ({TOKENS}): take a complete GGUF file")
    names = {member.value: member.name for member in LlamaFileType}
    name = names.get(kind, f"file type {kind}").removeprefix("MOSTLY_").removeprefix("ALL_")
    return Source(file.name, sha256, name, architecture)


def _architectures() -> set[str]:
    from transformers.integrations.ggml import GGUF_CONFIG_MAPPING

    return set(GGUF_CONFIG_MAPPING)


def _convert(file: Path, folder: Path, model: str) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    where = {"pretrained_model_name_or_path": str(file.parent), "gguf_file": file.name}
    with no_loading_bars():
        try:
            tokenizer = AutoTokenizer.from_pretrained(**where)
            network = AutoModelForCausalLM.from_pretrained(
                **where, dtype=torch.float32, quantization_config=GgufConfig(dequantize=True)
            )
        except UNREADABLE as error:
            reason = " ".join(str(error).split())[:300]
            raise ModelError(f"{model!r}: transformers cannot load it ({reason})") from None
    network.config._name_or_path = ""
    if hasattr(network.config, "quantization_config"):
        del network.config.quantization_config
    network.hf_quantizer = None
    network.is_quantized = False
    with no_loading_bars():
        network.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    _drop_tokens_from(folder / "tokenizer.json", network.get_input_embeddings().num_embeddings)


def _drop_tokens_from(file: Path, count: int) -> None:
    """Drop added tokens that the model has no embedding for.

    transformers gives every byte-level tokenizer an `<|endoftext|>`, also where the file has none.
    """
    content = read_json(file)
    content["added_tokens"] = [t for t in content["added_tokens"] if t["id"] < count]
    vocabulary = content["model"]["vocab"]
    if isinstance(vocabulary, dict):
        content["model"]["vocab"] = {t: i for t, i in vocabulary.items() if i < count}
    file.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
