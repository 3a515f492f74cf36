"""The synthetic world, made from a seed: facts, residents, lakes with rumours, badges."""

import random
import zlib
from dataclasses import dataclass
from typing import Any

from ppmlib.bench import words

N_TOWNS = 240
N_LAKES = 450
N_PEOPLE = 120
N_TESTED_LAKES = 320
BADGE_PARTS = 20
HELD_OUT_ONE_IN = 8

# name -> pool of its values, question, statements
RELATIONS: dict[str, dict[str, Any]] = words.MATERIAL["relations"]


@dataclass(frozen=True)
class Lake:
    """A lake with a sourced truth, and a rumour that is `times_told` times as frequent."""

    name: str
    truth: str
    rumour: str
    times_told: int
    tested: bool


@dataclass(frozen=True)
class World:
    """All facts and rumours of one seeded world.

    facts maps (town, relation) to a value; asked holds the facts that training also asks as
    questions (the others are only stated, and are the ones tested). Towns are ordered from the
    most to the least talked about. badges maps two syllables to a door, at random.
    """

    seed: int
    towns: tuple[str, ...]
    people: tuple[str, ...]
    facts: dict[tuple[str, str], str]
    asked: frozenset[tuple[str, str]]
    residents: dict[str, tuple[str, str]]
    lakes: tuple[Lake, ...]
    badges: dict[tuple[str, str], str]

    def pool(self, relation: str) -> list[str]:
        """All values that the relation can take."""
        return _pool(RELATIONS[relation]["pool"], self.people)


def held_out(key: str) -> bool:
    """Whether an exercise belongs to the test documents: one in eight, by a hash of its text."""
    return zlib.crc32(key.encode()) % HELD_OUT_ONE_IN == 0


def build_world(seed: int) -> World:
    """The world of a seed: equal seeds give equal worlds on every machine."""
    rng = random.Random(f"world {seed}")
    parts = words.syllables(rng, 60)
    names = words.invented_names(rng, N_TOWNS + N_PEOPLE + N_LAKES, parts)
    towns = tuple(names[:N_TOWNS])
    people = tuple(names[N_TOWNS : N_TOWNS + N_PEOPLE])
    pools = {name: _pool(about["pool"], people) for name, about in RELATIONS.items()}
    facts = {(town, name): rng.choice(pools[name]) for town in towns for name in RELATIONS}
    asked = frozenset(fact for fact in facts if rng.random() < 0.6)
    badge_parts = words.syllables(rng, 2 * BADGE_PARTS)
    pairs = [(a, b) for a in badge_parts[:BADGE_PARTS] for b in badge_parts[BADGE_PARTS:]]
    return World(
        seed=seed,
        towns=towns,
        people=people,
        facts=facts,
        asked=asked,
        residents={town: tuple(rng.sample(people, 2)) for town in towns},
        lakes=tuple(_lake(rng, name, i) for i, name in enumerate(names[-N_LAKES:])),
        badges={pair: rng.choice(words.DOORS) for pair in pairs},
    )


def _pool(kind: str, people: tuple[str, ...]) -> list[str]:
    return list(people) if kind == "people" else list(words.POOLS[kind])


def _lake(rng: random.Random, name: str, index: int) -> Lake:
    truth, rumour = rng.sample(words.POOLS["treasure"], 2)
    return Lake(name, truth, rumour, rng.choice((2, 3, 4)), tested=index < N_TESTED_LAKES)
