"""A study file as it is written: YAML, with what it shares with another file taken over.

    extends: llama-3.2-1b.yaml      # a file beside this one

Every key of the file named there holds here too; a key written here replaces that one as a whole
(`null` takes it away). The file named may itself extend another. Nothing is merged deeper.
"""

from pathlib import Path
from typing import Any

import yaml

EXTENDS = "extends"


class ParamsError(Exception):
    """A study file is wrong; the message has one line per mistake, naming file and key."""


def read(path: Path, below: tuple[Path, ...] = ()) -> tuple[dict[str, Any], dict[str, Path]]:
    """The keys of a study file, those it takes over included, and the file each is written in.

    Args:
        path: the file.
        below: the files that extend it.
    Raises:
        ParamsError: if the file, or one it extends, cannot be read, is no YAML mapping, is no file
            beside this one, or extends itself.
    """
    path = Path(path)
    own = _mapping(path)
    if EXTENDS not in own:
        return own, dict.fromkeys(own, path)
    name = own.pop(EXTENDS)
    if not isinstance(name, str) or Path(name).name != name:
        raise ParamsError(
            f"{path}: {EXTENDS}: give the name of a file beside this one (got {name!r})"
        )
    base = path.parent / name
    if base in (*below, path):
        raise ParamsError(f"{path}: {EXTENDS}: {name} leads back to itself")
    if not base.is_file():
        raise ParamsError(f"{path}: {EXTENDS}: there is no file {name!r} beside this one")
    content, origin = read(base, (*below, path))
    return content | own, origin | dict.fromkeys(own, path)


def _mapping(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ParamsError(f"{path}: cannot be read ({error})") from None
    try:
        content = yaml.load(text, Loader=_UniqueKeys)
    except yaml.YAMLError as error:
        raise ParamsError(f"{path}: not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise ParamsError(f"{path}: holds no study (expected keys such as study, model, tasks)")
    return content


class _UniqueKeys(yaml.SafeLoader):
    """YAML with repeated keys refused (PyYAML would keep the last one silently)."""

    def construct_mapping(self, node, deep=False):
        """Build a mapping; a repeated key is an error."""
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"key {key!r} appears twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)
