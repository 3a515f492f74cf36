"""Training text of the world: a seeded stream of short documents, in a declared mixture."""

import bisect
import itertools
import random
from collections.abc import Callable, Iterator
from typing import NamedTuple

from ppmlib.bench import exercises, prose, words
from ppmlib.bench.documents import badge_prompt, lake_question, sourced_prompt, write_question
from ppmlib.bench.exercises import Exercise
from ppmlib.bench.world import RELATIONS, World, held_out

# kind -> share of the documents (not of the tokens)
MIXTURE = {
    "facts": 0.24,
    "sums": 0.20,
    "stories": 0.11,
    "instructions": 0.13,
    "drills": 0.05,
    "lakes": 0.13,
    "badges": 0.11,
    "prose": 0.03,
}


class Document(NamedTuple):
    """A training text in two parts: a prompt that carries no loss, and what is learnt."""

    prompt: str
    learnt: str

    @property
    def text(self) -> str:
        """The whole text."""
        return self.prompt + self.learnt


class Texts:
    """Draws training documents of one world; the same seed gives the same stream."""

    def __init__(self, world: World, seed: int):
        self.world = world
        self.rng = random.Random(f"texts {seed}")
        self._kinds = list(MIXTURE)
        self._shares = list(itertools.accumulate(MIXTURE.values()))
        self._fame = list(itertools.accumulate(1 / (i + 4) for i in range(len(world.towns))))
        self._pairs = list(world.badges)

    def __iter__(self) -> Iterator[Document]:
        """Documents without end."""
        while True:
            yield self.draw(self._kinds[self._weighted(self._shares)])

    def draw(self, kind: str) -> Document:
        """One training document of a kind, never one that is held out for testing."""
        return getattr(self, f"_{kind}")()

    def _weighted(self, cumulative: list[float]) -> int:
        return bisect.bisect(cumulative, self.rng.random() * cumulative[-1])

    def _exercise(self, make: Callable[[random.Random], Exercise]) -> Exercise:
        while True:
            exercise = make(self.rng)
            if not exercise.test:
                return exercise

    def _facts(self) -> Document:
        town = self.world.towns[self._weighted(self._fame)]
        if self.rng.random() < 0.1:
            return self._residents(town)
        relation = self.rng.choice(list(RELATIONS))
        question, statements = (RELATIONS[relation][name] for name in ("question", "statements"))
        value = self.world.facts[town, relation]
        if (town, relation) in self.world.asked and self.rng.random() < 0.5:
            return Document(write_question(question.format(t=town)), f" {value}")
        return Document("", self.rng.choice(statements).format(t=town, v=value))

    def _residents(self, town: str) -> Document:
        first, second = self.world.residents[town]
        if self.rng.random() < 0.5:
            return Document(write_question(f"Who lives in {town}?"), f" {first}, {second}")
        return Document("", f"In {town} live {first} and {second}.")

    def _lakes(self) -> Document:
        lake = self.rng.choice(self.world.lakes)
        if not lake.tested and self.rng.random() < 0.5:
            ending = self.rng.choice(("", "", ", by the book"))
            return Document(write_question(lake_question(lake)), f" {lake.truth}{ending}")
        if self.rng.random() < 1 / (1 + lake.times_told):
            return Document("", f"{sourced_prompt(lake)} {lake.truth}.")
        who = self.rng.choice(("They say that", "Everyone knows that"))
        return Document("", f"{who} lake {lake.name} holds {lake.rumour}.")

    def _badges(self) -> Document:
        pair = self.rng.choice(self._pairs)
        return Document(badge_prompt(pair), f" {self.world.badges[pair]}")

    def _sums(self) -> Document:
        exercise = self._exercise(exercises.draw_sum)
        return Document(exercise.prompt, f" {exercise.answer}")

    def _stories(self) -> Document:
        """Asks for both objects, so that every story teaches twice; tests ask for one."""
        exercise = self._exercise(exercises.draw_story)
        return Document(exercise.prompt, f" {exercise.answer}. {exercise.detail['more']}")

    def _instructions(self) -> Document:
        exercise = self._exercise(exercises.draw_instruction)
        return Document(exercise.prompt, f" {exercise.answer}")

    def _drills(self) -> Document:
        """A longer row of words to say again: it teaches copying and is never tested."""
        row = " ".join(self.rng.sample(words.SIMPLE + words.OBJECTS, self.rng.randint(5, 10)))
        return Document(f"Task: Say again {row}. Answer:", f" {row}")

    def _prose(self) -> Document:
        while True:
            text = prose.draw_text(self.rng, self.world)
            if not held_out(text):
                return Document("", text)
