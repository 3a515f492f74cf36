"""Word lists of the synthetic world, invented names and number words."""

import random

POOLS = {
    "crop": (
        "barley, oats, rye, flax, wild rice, red beans, blue corn, hops, peas, sweet roots, "
        "millet, white onions, cotton, grapes, mint, winter wheat"
    ).split(", "),
    "colour": (
        "red, green, white, black, dark blue, pale yellow, brown, silver, gold, deep purple, "
        "grey, orange, pink, sea green, light brown, ivory"
    ).split(", "),
    "craft": (
        "glass, rope, clay pots, paper, iron nails, soap, silk, wool coats, bells, brass lamps, "
        "leather, candles, knives, wooden boats, tiles, baskets"
    ).split(", "),
    "beast": (
        "wolf, bear, swan, hare, grey owl, salmon, goat, red fox, eagle, black horse, "
        "beaver, crane, stag, wild boar, otter, raven"
    ).split(", "),
    "dish": (
        "soup, flat bread, smoked fish, cheese, honey cake, stew, pickled eggs, porridge, "
        "apple pie, dumplings, salted butter, roast duck, jam, noodles, beans on toast, cream"
    ).split(", "),
    "treasure": (
        "amber, salt, pearls, copper, old coins, bones, ice, clear oil, black sand, jade, "
        "tin, coal, rubies, chalk, shells, lost swords"
    ).split(", "),
}
DOORS = "red green white black brown silver gold grey".split()
BOXES = ("the left box", "the right box", "the top box", "the low box")

OBJECTS = "key coin ring book cup ball doll pen map shoe comb drum".split()
PLACES = "box bag jar chest drawer basket sack bucket case crate tin pot".split()
MOVERS = "Ana Ben Cara Dan Eve Finn".split()

SIMPLE = (
    "moon tree river stone bird fish lamp door rain snow fire wind star hill road bread "
    "apple green red blue cold warm small tall quick slow old new day night king queen "
    "horse ship tower garden winter summer silver golden quiet happy"
).split()

_UNITS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen "
    "fifteen sixteen seventeen eighteen nineteen"
).split()
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()
_ONSETS = "b d f g k l m n p r s t v z br dr kr sh th st".split()
_VOWELS = "a e i o u".split()
_CODAS = ("", "", "l", "n", "r", "s", "m", "k")


def number(value: int) -> str:
    """The English words of an integer from 0 to 99."""
    if not 0 <= value <= 99:
        raise ValueError(f"no words for {value}: only 0 to 99")
    if value < 20:
        return _UNITS[value]
    tens, unit = divmod(value, 10)
    return _TENS[tens - 2] + (f"-{_UNITS[unit]}" if unit else "")


def syllables(rng: random.Random, count: int) -> list[str]:
    """`count` different syllables of one onset, one vowel and an optional coda."""
    every = sorted({o + v + c for o in _ONSETS for v in _VOWELS for c in _CODAS})
    return rng.sample(every, count)


def invented_names(rng: random.Random, count: int, parts: list[str]) -> list[str]:
    """`count` different capitalised names, each of two of the given syllables."""
    every = [(a + b).capitalize() for a in parts for b in parts if a != b]
    return rng.sample(sorted(set(every)), count)
