"""Load a causal LM and its tokenizer from the package, a folder or the hub.

Safetensors only, never remote code. `shape:<name>` has random weights and no tokenizer
(`random_shapes`). `locate` needs neither torch nor transformers, so that a study can be checked
before a kernel starts.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ppmlib import bench
from ppmlib.data import data_root, hub
from ppmlib.model import gguf_source, hashes, random_shapes
from ppmlib.model.checkpoint import (
    ModelError,
    check_present,
    read_json,
    shapes,
    weight_files,
)
from ppmlib.model.quiet import no_loading_bars
from ppmlib.record import records

DTYPES = ("float32", "bfloat16", "float16", "float64")
HUB_FILES = ["*.json", "*.safetensors", "*.jinja", "*.model", "*.txt"]
HUB_IGNORED = ["*/*", "consol*"]
HUB_ID = re.compile(
    r"(?!.*(?:--|\.\.))(?=.{3,96}$)[A-Za-z0-9][\w.-]*/[A-Za-z0-9](?:[\w.-]*\w)?", re.ASCII
)
# What transformers raises on files of a model that do not fit each other.
UNLOADABLE = (
    OSError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
    AssertionError,
)


@dataclass(frozen=True)
class Loaded:
    """A model in evaluation mode, its tokenizer, and what identifies them in a fingerprint.

    A shape with random weights has neither tokenizer nor folder.
    """

    model: Any
    tokenizer: Any
    identity: dict[str, Any]
    folder: Path | None

    @property
    def random_weights(self) -> bool:
        """Whether the weights are random, good for time and energy only."""
        return self.folder is None

    @property
    def vocabulary(self) -> tuple[int, list[int]]:
        """Number of tokens and the special ids among them."""
        if self.random_weights:
            config = self.model.config
            return config.vocab_size, [config.bos_token_id, config.eos_token_id]
        return len(self.tokenizer), list(self.tokenizer.all_special_ids)


class NotHere(ModelError):
    """A hub model is missing or incomplete locally, and downloading is off."""


def locate(model: str, revision: str | None = None, *, fetch: bool = True) -> Path:
    """The folder that holds a model: packaged, local, in the data root, or from the hub.

    In a process with a data root (`ppmlib.data.data_root`) hub ids are taken only from there.

    Args:
        model: a packaged name (`bench`, `bench-small`), a folder, a GGUF file, or a hub id
            `owner/name`.
        revision: commit, tag or branch of a hub id.
        fetch: whether a hub model that is not in the local cache is downloaded.
    Raises:
        ModelError: if there is no such model, or it has no safetensors weights.
        NotHere: for a hub model that is not in the local cache, without `fetch`.
    """
    if gguf_source.is_gguf(model):
        return gguf_source.dequantise(Path(model).expanduser(), model)
    packaged = model in bench.MODELS
    folder = bench.model_dir(model) if packaged else Path(model).expanduser()
    try:
        root = data_root.current_data_root() if HUB_ID.fullmatch(model) else None
        stored = root.find_model(model, revision) if root else None
    except data_root.DataRootError as error:
        raise ModelError(str(error)) from None
    if stored is not None:
        folder = stored
    elif packaged or folder.is_dir():
        if revision is not None:
            raise ModelError(f"{model!r} is not a hub model: remove revision {revision!r}")
    elif HUB_ID.fullmatch(model):
        folder = _download(model, revision, fetch)
    elif "/" in model or "\\" in model:
        raise ModelError(
            f"there is no folder {model!r}, and it is not a hub id (owner/name): check the name"
        )
    else:
        known = ", ".join(bench.MODELS)
        raise ModelError(
            f"unknown model {model!r}: use a packaged one ({known}), a folder, or a hub id "
            "of the form owner/name"
        )
    check_folder(folder, model)
    return folder


def check_folder(folder: Path, model: str) -> None:
    """ModelError, naming `model`, unless a folder has a config and unquantised safetensors."""
    if not (folder / "config.json").is_file():
        if files := sorted(folder.glob(f"*{gguf_source.SUFFIX}")):
            raise ModelError(
                f"{model!r}: name the GGUF file itself: {model.rstrip('/')}/{files[0].name}"
            )
        raise ModelError(f"{model!r}: the folder has no config.json: name the one that has it")
    config = read_json(folder / "config.json")
    if config.get("quantization_config") is not None:
        raise ModelError(f"{model!r} is quantised; use the original floating-point model")
    if config.get("transformers_weights") is not None:
        raise ModelError(
            f"{model!r}: config.json names another file of weights (transformers_weights): take "
            "that key out and name the file model.safetensors"
        )
    if (folder / "adapter_config.json").exists():
        raise ModelError(
            f"{model!r} holds an adapter (adapter_config.json), which is loaded only where peft is "
            "installed: merge it into the weights, or take it out of the folder"
        )
    check_present(folder, model)
    shapes(folder)


def _download(model: str, revision: str | None, fetch: bool) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    wanted = {"revision": revision, "allow_patterns": HUB_FILES, "ignore_patterns": HUB_IGNORED}
    if not fetch:
        try:
            return _whole(Path(snapshot_download(model, local_files_only=True, **wanted)), model)
        except LocalEntryNotFoundError:
            raise NotHere(f"{model!r} is not in the local cache") from None
    try:
        with hub.explain_hub_errors(model, revision):
            offline = not hub.is_reachable(model, revision)
            return Path(snapshot_download(model, local_files_only=offline, **wanted))
    except hub.HubError as error:
        raise ModelError(str(error)) from error


def _whole(folder: Path, model: str) -> Path:
    if all(file.is_file() for file in (folder / "config.json", *weight_files(folder))):
        return folder
    raise NotHere(f"{model!r} is not complete in the local cache")


def load_tokenizer(model: str, *, revision: str | None = None) -> tuple[Any, Path]:
    """A model's tokenizer without its weights, and the folder it lies in.

    Raises:
        ModelError: if the model or its tokenizer cannot be found or read.
    """
    folder = locate(model, revision)
    try:
        return _read_tokenizer(folder), folder
    except UNLOADABLE as error:
        raise ModelError(
            f"{model!r}: its tokenizer cannot be loaded: {hub.describe_error(error)}"
        ) from error


def _read_tokenizer(folder: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)


def load(
    model: str,
    *,
    revision: str | None = None,
    dtype: str = "float32",
    device: str | None = None,
) -> Loaded:
    """Load a model in evaluation mode with its tokenizer.

    Args:
        model, revision: as `locate`; or `shape:<name>`, made with random weights.
        dtype: of the weights; set while loading, so that rotary buffers stay in float32.
        device: None takes CUDA where there is one; `meta` checks names and shapes of all weights
            without reading them into memory.
    Raises:
        ModelError: if the model cannot be found, is incomplete, needs remote code, or its
            tokenizer does not fit its embeddings.
    """
    import torch
    from huggingface_hub.errors import StrictDataclassError
    from transformers import AutoModelForCausalLM

    if dtype not in DTYPES:
        raise ModelError(f"unknown dtype {dtype!r}: use one of {', '.join(DTYPES)}")
    place = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    if random_shapes.is_shape(model):
        return _random(model, dtype, place)
    folder = locate(model, revision)
    try:
        with no_loading_bars():
            network, loading = AutoModelForCausalLM.from_pretrained(
                folder,
                dtype=getattr(torch, dtype),
                attn_implementation=_attention(folder),
                use_safetensors=True,
                local_files_only=True,
                trust_remote_code=False,
                device_map="meta" if place.type == "meta" else None,
                ignore_mismatched_sizes=True,  # reported, and refused below
                output_loading_info=True,
            )
        tokenizer = _read_tokenizer(folder)
    except (*UNLOADABLE, StrictDataclassError) as error:
        raise ModelError(f"{model!r} cannot be loaded: {hub.describe_error(error)}") from error
    unfit = sorted([*loading["missing_keys"], *(key[0] for key in loading["mismatched_keys"])])
    if unfit:
        raise ModelError(f"{model!r}: weights missing or of another shape: {', '.join(unfit[:5])}")
    rows = network.get_input_embeddings().weight.shape[0]
    if len(tokenizer) > rows:
        raise ModelError(
            f"{model!r}: the tokenizer has {len(tokenizer)} tokens, the model embeds {rows}; "
            "they do not belong together"
        )
    network.eval().to(place)
    return Loaded(network, tokenizer, _identity(model, folder, dtype, network, place), folder)


def _attention(folder: Path) -> str:
    """SDPA where the family has it, else transformers' own eager attention."""
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, AutoConfig

    config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    family = MODEL_FOR_CAUSAL_LM_MAPPING.get(type(config), None)
    return "eager" if family is not None and not family._supports_sdpa else random_shapes.ATTENTION


def _random(model: str, dtype: str, place) -> Loaded:
    network = random_shapes.build(model, dtype, place)
    sha256 = {
        "weights_sha256": random_shapes.weights_sha256(model),
        "config_sha256": records.fingerprint(random_shapes.config_of(model)),
        "tokenizer_sha256": None,
    }
    identity = {"id": model, "revision": None, "dtype": dtype, **sha256}
    return Loaded(network, None, identity | _conditions(network, place, synthetic=False), None)


def _identity(model: str, folder: Path, dtype: str, network, place) -> dict[str, Any]:
    packaged = model in bench.MODELS
    root = data_root.current_data_root() if HUB_ID.fullmatch(model) else None
    on_hub = root is not None or not (packaged or Path(model).expanduser().is_dir())
    commit = root.commit("models", model) if root else folder.name
    source = gguf_source.read_source(folder)
    return {
        "id": model if packaged or on_hub else gguf_source.name_of(folder),
        "revision": commit if on_hub else None,
        "dtype": dtype,
        "weights_sha256": hashes.weights_sha256(folder),
        "config_sha256": hashes.config_sha256(folder),
        "tokenizer_sha256": hashes.tokenizer_sha256(folder),
        **_conditions(network, place, synthetic=packaged),
        **({"gguf_sha256": source.sha256} if source else {}),
    }


def _conditions(network, place, *, synthetic: bool) -> dict[str, Any]:
    import torch

    name = place.type
    if name == "cuda":
        name = f"cuda {torch.cuda.get_device_name(place)}"
    elif name == "cpu":
        name = f"cpu {records.processor()}"
    return {
        "attn_implementation": network.config._attn_implementation,
        "device": name,
        "synthetic": synthetic,
        "threads": torch.get_num_threads() if place.type == "cpu" else None,
    }


def weights_identity(identity: dict[str, Any]) -> dict[str, Any]:
    """What scores and kept neurons depend on: name, dtype and hashes, no device or tokenizer."""
    names = ("id", "revision", "dtype", "weights_sha256", "config_sha256", "gguf_sha256")
    return {name: identity[name] for name in names if name in identity}
