"""Read the YAML of a study file, with the keys of the file that it extends.

    extends: llama-3.2-1b.yaml      # a file in the same folder

Every key of that file is valid here too; a key written here replaces that key's whole value (`null`
removes it). The extended file may itself extend another.
"""

from pathlib import Path
from typing import Any

import yaml

EXTENDS = "extends"


class ParamsError(Exception):
    """A study file is wrong; the message has one line per mistake, naming file and key."""


def read(path: Path, below: tuple[Path, ...] = ()) -> tuple[dict[str, Any], dict[str, Path]]:
    """The keys of a study file and of the file it extends, and the file each is written in.

    `below`: the files that extend it. ParamsError if a file cannot be read or extends itself.
    """
    path = Path(path)
    own = _read_mapping(path)
    if EXTENDS not in own:
        return own, dict.fromkeys(own, path)
    name = own.pop(EXTENDS)
    base = path.parent / str(name)
    mistake = None
    if not isinstance(name, str) or Path(name).name != name:
        mistake = f"give the name of a file in the same folder (got {name!r})"
    elif base in (*below, path):
        mistake = f"{name} leads back to itself"
    elif not base.is_file():
        mistake = f"there is no file {name!r} in the same folder"
    if mistake:
        raise ParamsError(f"{path}: {EXTENDS}: {mistake}")
    content, origin = read(base, (*below, path))
    return content | own, origin | dict.fromkeys(own, path)


def _read_mapping(path: Path) -> dict[str, Any]:
    try:
        content = yaml.load(path.read_text(encoding="utf-8-sig"), Loader=_Plain)
    except OSError as error:
        mistake = f"cannot be read ({error.strerror})"
    except UnicodeDecodeError:
        mistake = "is not a text file (expected YAML in UTF-8)"
    except yaml.YAMLError as error:
        mistake = _describe(error)
    except RecursionError:
        mistake = "not YAML for a study: nested too deeply"
    else:
        if isinstance(content, dict):
            return content
        mistake = "holds no study (expected keys such as study, model, tasks)"
    raise ParamsError(f"{path}: {mistake}")


def _describe(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
    if isinstance(error, yaml.constructor.ConstructorError):
        return f"{place}{error.problem}"
    parts = [getattr(error, name, None) for name in ("context", "problem")]
    return f"not YAML: {place}{', '.join(filter(None, parts)) or error.reason}"


def _error_at(node: yaml.Node, what: str) -> yaml.YAMLError:
    return yaml.constructor.ConstructorError(None, None, what, node.start_mark)


class _Plain(yaml.SafeLoader):
    """YAML without tags, dates and repeated keys; PyYAML alone keeps the last of repeated keys."""

    def construct_object(self, node, deep=False):
        """Build a value; a value that does not fit its tag is an error with its place."""
        try:
            return super().construct_object(node, deep)
        except (ValueError, KeyError) as error:  # `!!bool x`, a number of thousands of digits
            raise _error_at(node, f"no value can be read here ({error})") from None

    def construct_mapping(self, node, deep=False):
        """Build a mapping; a repeated key is an error."""
        seen = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            if not isinstance(key_node, yaml.ScalarNode):
                raise _error_at(key_node, "a key must be text")
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise _error_at(key_node, f"key {key!r} appears twice")
            seen.add(key)
        return super().construct_mapping(node, deep)

    def construct_undefined(self, node):
        """Refuse a tag."""
        tag = node.tag.replace("tag:yaml.org,2002:", "!!")
        raise _error_at(node, f"a study has no tags such as {tag}")


# Dates stay text; other tags than those of plain values are refused.
_Plain.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in found if not tag.endswith(":timestamp")]
    for first, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Plain.add_constructor(None, _Plain.construct_undefined)
for _kind in ("timestamp", "binary", "set", "omap", "pairs"):
    _Plain.add_constructor(f"tag:yaml.org,2002:{_kind}", _Plain.construct_undefined)
