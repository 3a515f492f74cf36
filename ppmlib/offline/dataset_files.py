"""Which files of a hub data set its configurations need, by its README.md."""

import re
from collections.abc import Iterable
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import yaml

README = "README.md"
HEADER = re.compile(r"\A---\s*\n(.*?)\n---\s*(?:\n|\Z)", re.DOTALL)
# Neither documents nor read by `datasets`.
NEVER_READ = (".gitattributes", "*.py")


def read_configurations(readme: str) -> list[dict[str, Any]]:
    """The `configs:` block of a README.md, in its order; empty if it has none."""
    header = HEADER.match(readme)
    content = yaml.safe_load(header[1]) if header else None
    listed = content.get("configs") if isinstance(content, dict) else None
    return [entry for entry in listed or [] if isinstance(entry, dict)]


def find_needed_files(
    names: Iterable[str], readme: str, configs: Iterable[str | None]
) -> list[str]:
    """Names of the files that some configurations need; all where the README.md does not name them.

    Args:
        names: every file of the repository, relative to it.
        configs: names of configurations; None is the repository's own choice.
    """
    names = [name for name in names if not any(fnmatch(name, p) for p in NEVER_READ)]
    listed = read_configurations(readme)
    known = {entry.get("config_name"): entry for entry in listed}
    wanted = [_default(listed) if config is None else known.get(config) for config in configs]
    patterns = []
    # `datasets` looks at the files of the first configuration, whichever it loads.
    for entry in [*listed[:1], *wanted]:
        own = _patterns(entry)
        if not own:
            return names
        patterns += own
    described = [
        name for name in names if "/" not in name and Path(name).suffix in (".md", ".json")
    ]
    chosen = {name for name in names if any(fnmatch(name, pattern) for pattern in patterns)}
    return [name for name in names if name in chosen or name in described]


def _default(listed: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The configuration that is loaded where none is named."""
    marked = [entry for entry in listed if entry.get("default")]
    named = [entry for entry in listed if entry.get("config_name") == "default"]
    candidates = marked or named or listed
    return candidates[0] if len(candidates) == 1 else None


def _patterns(entry: dict[str, Any] | None) -> list[str]:
    """Patterns of a configuration's files; empty if it does not name them."""
    if entry is None or "data_files" not in entry:
        return []
    folder = entry.get("data_dir")
    paths = _paths(entry["data_files"])
    return [f"{folder.rstrip('/')}/{path}" if folder else path for path in paths]


def _paths(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value.removeprefix("./")]
    if isinstance(value, dict):
        return _paths(value["path"] if "path" in value else list(value.values()))
    return [path for each in value for path in _paths(each)] if isinstance(value, list) else []
