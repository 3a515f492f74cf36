"""The material of the bench world (`world.yaml`), invented names, number words."""

import itertools
import random
from pathlib import Path
from typing import Any

import yaml

MATERIAL: dict[str, Any] = yaml.safe_load(
    Path(__file__).with_name("world.yaml").read_text(encoding="utf-8")
)
POOLS: dict[str, list[str]] = MATERIAL["pools"]
DOORS, BOXES = MATERIAL["doors"], MATERIAL["boxes"]
OBJECTS, PLACES, MOVERS = MATERIAL["objects"], MATERIAL["places"], MATERIAL["movers"]
SIMPLE: list[str] = MATERIAL["simple"]


def number(value: int) -> str:
    """The English words of an integer from 0 to 99."""
    if not 0 <= value <= 99:
        raise ValueError(f"no words for {value}: only 0 to 99")
    if value < 20:
        return MATERIAL["units"][value]
    tens, unit = divmod(value, 10)
    return MATERIAL["tens"][tens - 2] + (f"-{MATERIAL['units'][unit]}" if unit else "")


def syllables(rng: random.Random, count: int) -> list[str]:
    """`count` different syllables of one onset, one vowel and an optional coda."""
    parts = (MATERIAL[name] for name in ("onsets", "vowels", "codas"))
    return rng.sample(sorted({"".join(each) for each in itertools.product(*parts)}), count)


def invented_names(rng: random.Random, count: int, parts: list[str]) -> list[str]:
    """`count` different capitalised names, each of two of the given syllables."""
    every = [(a + b).capitalize() for a in parts for b in parts if a != b]
    return rng.sample(sorted(set(every)), count)
