"""Training text of the world: a seeded stream of short documents, in a declared mixture."""

import bisect
import itertools
import random
from collections.abc import Iterator

from ppmlib.bench import exercises, prose
from ppmlib.bench.world import RELATIONS, World, held_out

# kind -> share of the documents (not of the tokens)
MIXTURE = {
    "facts": 0.24,
    "sums": 0.22,
    "stories": 0.14,
    "instructions": 0.16,
    "lakes": 0.10,
    "badges": 0.10,
    "prose": 0.04,
}


class Texts:
    """Draws training documents of one world; the same seed gives the same stream."""

    def __init__(self, world: World, seed: int):
        self.world = world
        self.rng = random.Random(f"texts {seed}")
        self._kinds = list(MIXTURE)
        self._shares = list(itertools.accumulate(MIXTURE.values()))
        self._fame = list(itertools.accumulate(1 / (i + 4) for i in range(len(world.towns))))
        self._pairs = list(world.badges)

    def __iter__(self) -> Iterator[str]:
        """Documents without end."""
        while True:
            yield self.draw(self._kinds[self._weighted(self._shares)])

    def draw(self, kind: str) -> str:
        """One training document of a kind; exercises and prose held out for testing are redrawn."""
        while True:
            text, test = getattr(self, f"_{kind}")()
            if not test:
                return text

    def _weighted(self, cumulative: list[float]) -> int:
        return bisect.bisect(cumulative, self.rng.random() * cumulative[-1])

    def _facts(self) -> tuple[str, bool]:
        town = self.world.towns[self._weighted(self._fame)]
        if self.rng.random() < 0.1:
            return self._residents(town), False
        relation = self.rng.choice(list(RELATIONS))
        _, question, statements = RELATIONS[relation]
        value = self.world.facts[town, relation]
        if (town, relation) in self.world.asked and self.rng.random() < 0.5:
            return asked(question.format(t=town), value), False
        return self.rng.choice(statements).format(t=town, v=value), False

    def _residents(self, town: str) -> str:
        first, second = self.world.residents[town]
        if self.rng.random() < 0.5:
            return asked(f"Who lives in {town}?", f"{first}, {second}")
        return f"In {town} live {first} and {second}."

    def _lakes(self) -> tuple[str, bool]:
        lake = self.rng.choice(self.world.lakes)
        if not lake.tested and self.rng.random() < 0.5:
            ending = self.rng.choice(("", "", ", by the book"))
            return asked(f"What does lake {lake.name} hold?", lake.truth + ending), False
        if self.rng.random() < 1 / (1 + lake.times_told):
            return f"By the book, lake {lake.name} holds {lake.truth}.", False
        who = self.rng.choice(("They say that", "Everyone knows that"))
        return f"{who} lake {lake.name} holds {lake.rumour}.", False

    def _badges(self) -> tuple[str, bool]:
        pair = self.rng.choice(self._pairs)
        return f"{badge_prompt(pair)} {self.world.badges[pair]}", False

    def _sums(self) -> tuple[str, bool]:
        exercise = exercises.a_sum(self.rng)
        return exercise.text, exercise.test

    def _stories(self) -> tuple[str, bool]:
        exercise = exercises.a_story(self.rng)
        return exercise.text, exercise.test

    def _instructions(self) -> tuple[str, bool]:
        exercise = exercises.an_instruction(self.rng)
        return exercise.text, exercise.test

    def _prose(self) -> tuple[str, bool]:
        text = prose.a_text(self.rng, self.world)
        return text, held_out(text)


def asked(question: str, answer: str) -> str:
    """A question with its answer, as every question of the world is written."""
    return f"Question: {question} Answer: {answer}"


def badge_prompt(pair: tuple[str, str]) -> str:
    """The beginning of the sentence about a badge."""
    return f"Badge {pair[0]} {pair[1]} opens the door of"
