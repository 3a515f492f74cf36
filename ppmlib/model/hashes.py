"""Hashes of a model's weights, config, tokenizer and generation settings, read without torch."""

import re
from functools import lru_cache
from pathlib import Path

from ppmlib.model.checkpoint import (
    GENERATION_FILE,
    ModelError,
    read_json,
    tokenizer_files,
    weight_files,
)
from ppmlib.record import records

# Settings that do not change what the weights compute, but change with every save.
VOLATILE_CONFIG = ("transformers_version", "_name_or_path", "torch_dtype", "dtype", "use_cache")
VOLATILE_GENERATION = ("transformers_version", "_from_model_config", "use_cache")


def weights_sha256(folder: Path) -> str:
    """SHA-256 over the names and hashes of a model's safetensors files.

    In the hub's cache a file is a link to its content's own SHA-256, which is taken as it is.
    """
    lines = (f"{file.name} {_content_sha256(file)}\n" for file in weight_files(folder))
    return records.fingerprint({"weights": "".join(lines)})


def tokenizer_sha256(folder: Path) -> str:
    """SHA-256 over the tokenizer's files and the chat templates. ModelError if there are none."""
    files = tokenizer_files(folder)
    hashes = {file.relative_to(folder).as_posix(): _content_sha256(file) for file in files}
    if not hashes:
        raise ModelError(f"{Path(folder).name!r} has no tokenizer files")
    return records.fingerprint(hashes)


def config_sha256(folder: Path) -> str:
    """SHA-256 of config.json as far as it decides the computation, without versions and dtype."""
    config = read_json(Path(folder) / "config.json")
    return records.fingerprint({k: v for k, v in config.items() if k not in VOLATILE_CONFIG})


def generation_sha256(folder: Path) -> str | None:
    """SHA-256 of generation_config.json's settings; None where it adds nothing to config.json.

    It adds nothing where there is none, or where it has config.json's special tokens and no other
    setting: transformers then generates alike with and without it.
    """
    file = Path(folder) / GENERATION_FILE
    if not file.is_file():
        return None
    settings = {
        name: value
        for name, value in read_json(file).items()
        if name not in VOLATILE_GENERATION and value is not None and value is not False
    }
    config = read_json(Path(folder) / "config.json")
    ids = {k: v for k, v in config.items() if k.endswith("_token_id") and v is not None}
    return None if settings == ids else records.fingerprint(settings)


def hash_files(folder: Path) -> dict[str, str]:
    """Hashes of all that a model's folder gives to its numbers, by the names fingerprints use."""
    found = {name: of(folder) for name, of in FILE_HASHES.items()}
    return {name: digest for name, digest in found.items() if digest is not None}


FILE_HASHES = {
    "weights_sha256": weights_sha256,
    "config_sha256": config_sha256,
    "tokenizer_sha256": tokenizer_sha256,
    "generation_sha256": generation_sha256,
}


def _content_sha256(file: Path) -> str:
    target = file.resolve()
    if target.parent.name == "blobs" and re.fullmatch(r"[0-9a-f]{64}", target.name):
        return target.name
    now = target.stat()
    return _hash_once(target, (now.st_ino, now.st_size, now.st_mtime_ns, now.st_ctime_ns))


@lru_cache(maxsize=256)
def _hash_once(target: Path, state: tuple[int, ...]) -> str:
    return records.sha256_file(target)
