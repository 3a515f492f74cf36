"""Hashes of a user's or a task's Python files, with the versions of packages they import.

Left out: packages whose versions are in every fingerprint, and `datasets`, as documents are hashed.
"""

import ast
from collections.abc import Iterable, Mapping
from functools import cache
from importlib import metadata
from pathlib import Path

from ppmlib.record import records

KNOWN = {*records.PACKAGES, "ppmlib", "datasets"}


def sha256(file: Path) -> str:
    """SHA-256 of a score file, and of the versions of the packages it imports, if any."""
    digest, versions = records.sha256_file(file), versions_of(imported([file]))
    return records.fingerprint({"file": digest, "packages": versions}) if versions else digest


def imported(files: Iterable[Path]) -> set[str]:
    """Names of the modules that files import, at any depth; none of a file that is not Python."""
    found = set()
    for file in files:
        try:
            nodes = list(ast.walk(ast.parse(file.read_bytes())))
        except (SyntaxError, ValueError):
            continue
        found |= {name.name for n in nodes if isinstance(n, ast.Import) for name in n.names}
        found |= {n.module for n in nodes if isinstance(n, ast.ImportFrom) and not n.level}
    return found


def versions_of(modules: Iterable[str]) -> dict[str, str]:
    """The versions of the packages that modules belong to."""
    roots = {module.partition(".")[0] for module in modules}
    owners = {owner for root in roots for owner in _distributions().get(root, ())}
    return records.package_versions(sorted(owners - KNOWN))


@cache
def _distributions() -> Mapping[str, list[str]]:
    return metadata.packages_distributions()
