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
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ParamsError(f"{path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise ParamsError(f"{path}: is no text file (expected YAML in UTF-8)") from None
    try:
        content = yaml.load(text, Loader=_Plain)
    except yaml.YAMLError as error:
        raise ParamsError(f"{path}: {_place_and_problem(error)}") from None
    except RecursionError:
        raise ParamsError(
            f"{path}: not YAML for a study: too many brackets in each other"
        ) from None
    if not isinstance(content, dict):
        raise ParamsError(f"{path}: holds no study (expected keys such as study, model, tasks)")
    return content


def _place_and_problem(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
    if isinstance(error, yaml.constructor.ConstructorError):
        return f"{place}{error.problem}"
    parts = [getattr(error, name, None) for name in ("context", "problem")]
    return f"not YAML: {place}{', '.join(filter(None, parts)) or error.reason}"


class _Plain(yaml.SafeLoader):
    """YAML of text, numbers, true, false, null, lists and mappings with keys that differ.

    PyYAML alone would keep the last of repeated keys silently, and stumble over tags and dates.
    """

    def construct_object(self, node, deep=False):
        """Build a value; one that is not of its tag's kind is an error with its place."""
        try:
            return super().construct_object(node, deep)
        except (ValueError, KeyError) as error:  # `!!bool x`, a number of thousands of digits
            what = f"no value can be read here ({error})"
            raise yaml.constructor.ConstructorError(None, None, what, node.start_mark) from None

    def construct_mapping(self, node, deep=False):
        """Build a mapping; a repeated key is an error."""
        seen = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            if not isinstance(key_node, yaml.ScalarNode):
                what = "a key must be text"
                raise yaml.constructor.ConstructorError(None, None, what, key_node.start_mark)
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"key {key!r} appears twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)

    def construct_undefined(self, node):
        """Refuse a tag."""
        what = f"a study has no tags such as {node.tag.replace('tag:yaml.org,2002:', '!!')}"
        raise yaml.constructor.ConstructorError(None, None, what, node.start_mark)


# Dates stay text; other tags than those of plain values are refused.
_Plain.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in found if not tag.endswith(":timestamp")]
    for first, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Plain.add_constructor(None, _Plain.construct_undefined)
for _kind in ("timestamp", "binary", "set", "omap", "pairs"):
    _Plain.add_constructor(f"tag:yaml.org,2002:{_kind}", _Plain.construct_undefined)
