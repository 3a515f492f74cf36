"""Plain text: small scenes of four to seven sentences that keep to one subject."""

import random

from ppmlib.bench import words
from ppmlib.bench.world import World


def _pick(rng: random.Random, options: list[str]) -> str:
    """One option; the first ones are the likelier ones."""
    return options[min(int(rng.expovariate(0.7)), len(options) - 1)]


def draw_text(rng: random.Random, world: World) -> str:
    """A scene of four to seven sentences about one subject, one town and one person."""
    scenes = words.MATERIAL["scenes"]
    scene = scenes[rng.choice(sorted(scenes))]
    town, name = rng.choice(world.towns), rng.choice(world.people)
    lines = []
    for _ in range(rng.randint(4, 7)):
        slots = {slot: _pick(rng, options) for slot, options in scene.items()}
        slots["who2"] = rng.choice([who for who in scene["who"] if who != slots["who"]])
        lines.append(rng.choice(words.MATERIAL["sentences"]).format(**slots, town=town, name=name))
    return " ".join(lines)
