"""The mistakes in a study file in plain words, one line each: `file: key: what is wrong`."""

import reprlib
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

MOST_LINES = 20
WORDS = {
    "missing": "is missing",
    "int_type": "expected a whole number",
    "float_type": "expected a number",
    "bool_type": "expected true or false",
    "string_type": "expected text; put a number in quotes",
    "string_unicode": "expected text",
    "list_type": "expected a list, such as [1, 2]",
    "dict_type": "expected keys with values, {{key: value}}",
    "invalid_key": "a key must be text; put it in quotes",
    "literal_error": "expected one of {expected}",
    "string_pattern_mismatch": "only letters, digits, '.', '_' and '-', a letter or digit first",
    "string_too_short": "must not be empty",
    "string_too_long": "must not be longer than {max_length} characters",
    "too_short": "needs at least {min_length} entries, has {actual_length}",
    "too_long": "takes at most {max_length} entries, has {actual_length}",
    "finite_number": "expected a finite number",
    "greater_than": "must be above {gt:g}",
    "greater_than_equal": "must be at least {ge:g}",
    "less_than": "must be below {lt:g}",
    "less_than_equal": "must be at most {le}",
}
# Mistakes whose line does not repeat the value.
WITHOUT_VALUE = ("missing", "extra_forbidden", "too_short", "too_long", "value_error")


def explain(
    schema: type[BaseModel], path: Path, origin: Mapping[Any, Path], error: ValidationError
) -> list[str]:
    """A line per mistake that pydantic found, at most `MOST_LINES`, and how many more there are.

    `origin`: the file that each top-level key is written in, where it is not `path`.
    """
    mistakes = error.errors(include_url=False)
    lines = [_line(schema, path, origin, mistake) for mistake in mistakes[:MOST_LINES]]
    more = len(mistakes) - len(lines)
    return [*lines, f"{path}: and {more} more mistakes"] if more else lines


def _line(schema, path, origin, mistake) -> str:
    kind, place = mistake["type"], mistake["loc"]
    where = ".".join(_short(part) if isinstance(part, str) else str(part) for part in place)
    if kind == "invalid_key":
        where = ".".join([*map(str, place[:-2]), _short(str(mistake["input"]))])
    what = WORDS.get(kind, mistake["msg"].removeprefix("Value error, "))
    if kind == "extra_forbidden":
        near = get_close_matches(str(place[-1]), _keys(schema, place[:-1]), n=1, cutoff=0.7)
        what = f"unknown key; did you mean {near[0]}?" if near else "unknown key"
    elif kind == "model_type":
        what = f"expected keys with values, of {', '.join(_keys(schema, place))}"
    elif kind in WORDS:
        what = what.format(**mistake.get("ctx", {}))
    if kind not in WITHOUT_VALUE:
        what = f"{what} (got {reprlib.repr(mistake['input'])})"
    file = origin.get(place[0], path) if place else path
    return f"{file}: {where}: {what}" if where else f"{file}: {what}"


def _short(name: str) -> str:
    return name if len(name) <= 60 else f"{name[:57]}..."


def _keys(schema: type[BaseModel], place: tuple) -> list[str]:
    """The keys that the part of a study at `place` may have."""
    for part in place:
        if part in schema.model_fields:
            schema = _part(schema.model_fields[part].annotation) or schema
    return list(schema.model_fields)


def _part(annotation: Any) -> type[BaseModel] | None:
    """The model that an annotation such as `list[Task] | None` holds."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for inner in get_args(annotation) if (found := _part(inner))), None)
