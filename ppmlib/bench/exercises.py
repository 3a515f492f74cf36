"""Exercises with an answer: sums in words, moved objects, instructions; to train and to test."""

import random
from dataclasses import dataclass, field

from ppmlib.bench import words
from ppmlib.bench.world import held_out

FORMATS = {"capitals": "in capitals", "commas": "with commas", "quotes": "in quotes"}
CONTENTS = ("copy", "repeat", "reverse", "sort")


@dataclass(frozen=True)
class Exercise:
    """A prompt and its answer; `detail` says what a checker or a choice list needs."""

    prompt: str
    answer: str
    test: bool
    detail: dict = field(default_factory=dict)


def draw_sum(rng: random.Random) -> Exercise:
    """Two terms up to 30 or three terms up to 12, added or subtracted, results from 0 to 60."""
    while True:
        if rng.random() < 0.4:
            terms, signs = [rng.randint(0, 30) for _ in range(2)], [rng.choice((1, -1))]
        else:
            terms = [rng.randint(0, 12) for _ in range(3)]
            signs = [rng.choice((1, -1)) for _ in range(2)]
        partial = terms[0] + signs[0] * terms[1]
        result = partial + (signs[1] * terms[2] if len(terms) == 3 else 0)
        if partial >= 0 and result >= 0:
            break
    text = words.number(terms[0])
    for sign, term in zip(signs, terms[1:], strict=True):
        text += f" {'plus' if sign > 0 else 'minus'} {words.number(term)}"
    key = "plus".join(map(str, sorted(terms))) if min(signs) > 0 else text
    prompt = f"Question: What is {text}? Answer:"
    return Exercise(prompt, words.number(result), held_out(key), {"terms": len(terms)})


def draw_story(rng: random.Random) -> Exercise:
    """Two objects, three places, one or two moves; the question asks for one object's place."""
    objects = rng.sample(words.OBJECTS, 2)
    places = rng.sample(words.PLACES, 3)
    where = dict(zip(objects, rng.sample(places, 2), strict=True))
    lines = [f"The {thing} is in the {place}." for thing, place in where.items()]
    moves = rng.randint(1, 2)
    for _ in range(moves):
        thing = rng.choice(objects)
        where[thing] = rng.choice([place for place in places if place != where[thing]])
        lines.append(f"{rng.choice(words.MOVERS)} moves the {thing} to the {where[thing]}.")
    asked, other = rng.sample(objects, 2)
    question = "Question: Where is the {}? Answer: in the"
    story = " ".join(lines)
    more = f"{question.format(other)} {where[other]}"
    detail = {"choices": rng.sample(places, 3), "moves": moves, "more": more}
    return Exercise(f"{story} {question.format(asked)}", where[asked], held_out(story), detail)


def draw_instruction(rng: random.Random) -> Exercise:
    """One thing to do with two to four words, and up to two ways to write the answer."""
    content = rng.choice(CONTENTS)
    times = rng.randint(2, 4) if content == "repeat" else 1
    size = rng.randint(1, 2) if content == "repeat" else rng.randint(2, 4)
    given = rng.sample(words.SIMPLE, size)
    formats = sorted(rng.sample(sorted(FORMATS), rng.choice((0, 1, 1, 2))))
    wanted = {"reverse": given[::-1], "sort": sorted(given)}.get(content, given * times)
    endings = {
        "copy": "",
        "repeat": f" {words.number(times)} times",
        "reverse": " in reverse order",
        "sort": " in the order of the alphabet",
    }
    parts = [" ".join(given) + endings[content], *(FORMATS[name] for name in formats)]
    prompt = f"Task: Write {', '.join(parts)}. Answer:"
    detail = {"ids": [content, *formats], "words": wanted}
    return Exercise(prompt, written(wanted, formats), held_out(" ".join(given)), detail)


def written(wanted: list[str], formats: list[str]) -> str:
    """The right answer, written as the formats ask."""
    text = (", " if "commas" in formats else " ").join(wanted)
    text = text.upper() if "capitals" in formats else text
    return f'"{text}"' if "quotes" in formats else text
