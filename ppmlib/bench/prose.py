"""Plain text: small scenes of four to seven sentences that keep to one subject."""

import random

from ppmlib.bench.world import World

_SCENES = {
    "sea": {
        "who": "fisher sailor captain child gull".split(),
        "thing": "net boat sail rope shell wave".split(),
        "place": "harbour beach island cliff pier".split(),
        "how": "cold deep salty grey wide".split(),
        "does": "pulls mends watches carries follows".split(),
    },
    "market": {
        "who": "trader baker thief mother guard".split(),
        "thing": "bread cloth purse melon lamp coin".split(),
        "place": "square stall street gate bridge".split(),
        "how": "cheap loud bright sweet crowded".split(),
        "does": "sells counts drops hides praises".split(),
    },
    "forest": {
        "who": "hunter fox owl woodman deer".split(),
        "thing": "branch nest berry root leaf axe".split(),
        "place": "clearing stream hollow path thicket".split(),
        "how": "dark green silent wet tangled".split(),
        "does": "finds breaks smells guards leaves".split(),
    },
    "winter": {
        "who": "smith shepherd grandmother dog traveller".split(),
        "thing": "coat sledge stove blanket candle ladder".split(),
        "place": "barn kitchen hill mill village".split(),
        "how": "white heavy warm frozen still".split(),
        "does": "warms drags wraps lights wants".split(),
    },
}
_SENTENCES = (
    "The {who} {does} the {thing}.",
    "In the {place} of {town} it is {how}.",
    "A {how} {thing} lies near the {place}.",
    "The {who} and the {who2} meet in the {place}.",
    "Soon the {who} {does} a {how} {thing}.",
    "{name} asks the {who} for the {thing}.",
    "Nobody in {town} {does} the {how} {thing}.",
)


def _pick(rng: random.Random, options: list[str]) -> str:
    """One option; the first ones are the likelier ones."""
    return options[min(int(rng.expovariate(0.7)), len(options) - 1)]


def a_text(rng: random.Random, world: World) -> str:
    """A scene of four to seven sentences about one subject, one town and one person."""
    scene = _SCENES[rng.choice(sorted(_SCENES))]
    town, name = rng.choice(world.towns), rng.choice(world.people)
    lines = []
    for _ in range(rng.randint(4, 7)):
        slots = {slot: _pick(rng, options) for slot, options in scene.items()}
        slots["who2"] = rng.choice([who for who in scene["who"] if who != slots["who"]])
        lines.append(rng.choice(_SENTENCES).format(**slots, town=town, name=name))
    return " ".join(lines)
