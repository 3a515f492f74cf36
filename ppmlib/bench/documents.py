"""Test documents of every task, written as JSON lines: same seed, same bytes."""

import json
import random
from collections.abc import Callable
from pathlib import Path

from ppmlib.bench import exercises, prose, words
from ppmlib.bench.world import RELATIONS, Lake, World, held_out

N_DOCUMENTS = 400
N_CHOICES = 4
_LIMITS = ("no_comma", "no_capitals")
_LIMIT_TEXT = "Use no comma and no capitals."


def build_documents(world: World, seed: int) -> dict[str, list[dict]]:
    """File stem -> its documents: for each of them at least 300."""
    return {name: make(world, random.Random(f"{name} {seed}")) for name, make in MAKERS.items()}


def write_documents(documents: dict[str, list[dict]], folder: Path) -> list[Path]:
    """Write each list as `<stem>.jsonl` into a folder; returns the paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, docs in documents.items():
        path = folder / f"{name}.jsonl"
        lines = [json.dumps({"id": i, **doc}) for i, doc in enumerate(docs)]
        path.write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\n")
        paths.append(path)
    return paths


def _choice(rng: random.Random, prompt: str, right: str, wrong: list[str]) -> dict:
    choices = [right, *rng.sample(wrong, N_CHOICES - 1)]
    rng.shuffle(choices)
    return {"prompt": prompt, "choices": choices, "gold": choices.index(right)}


def _knowledge(world: World, rng: random.Random) -> list[dict]:
    """Facts that training states but never asks, of all towns alike; four values to choose from."""
    facts = rng.sample(sorted(set(world.facts) - world.asked), N_DOCUMENTS)
    docs = []
    for town, relation in facts:
        right = world.facts[town, relation]
        wrong = [value for value in world.pool(relation) if value != right]
        prompt = write_question(RELATIONS[relation]["question"].format(t=town))
        docs.append(_choice(rng, prompt, right, wrong))
    return docs


def _distinct_tests(make: Callable, rng: random.Random) -> list[exercises.Exercise]:
    found: dict[str, exercises.Exercise] = {}
    while len(found) < N_DOCUMENTS:
        exercise = make(rng)
        if exercise.test:
            found[exercise.prompt] = exercise
    return list(found.values())


def _arithmetic(world: World, rng: random.Random) -> list[dict]:
    exams = _distinct_tests(exercises.draw_sum, rng)
    return [{"prompt": e.prompt, "answer": e.answer, **e.detail} for e in exams]


def _tracking(world: World, rng: random.Random) -> list[dict]:
    docs = []
    for e in _distinct_tests(exercises.draw_story, rng):
        choices, moves = e.detail["choices"], e.detail["moves"]
        gold = choices.index(e.answer)
        docs.append({"prompt": e.prompt, "choices": choices, "gold": gold, "moves": moves})
    return docs


def _instructions(world: World, rng: random.Random) -> list[dict]:
    docs = []
    for e in _distinct_tests(exercises.draw_instruction, rng):
        asked_for = {"instruction_id_list": e.detail["ids"], "words": e.detail["words"]}
        docs.append({"prompt": e.prompt, "answer": e.answer, **asked_for})
    return docs


def _truthfulness(world: World, rng: random.Random) -> list[dict]:
    """Lakes that training describes and never asks about: truth, rumour and two other answers.

    Every second prompt names the source, as training does; the others ask neutrally.
    """
    docs = []
    for i, lake in enumerate(lake for lake in world.lakes if lake.tested):
        sourced, neutral = sourced_prompt(lake), write_question(lake_question(lake))
        known = (lake.truth, lake.rumour)
        others = rng.sample([v for v in words.POOLS["treasure"] if v not in known], 2)
        mc1 = _choice(rng, "", lake.truth, [lake.rumour, *others])
        false = [lake.rumour, f"{lake.rumour}, by the book", *others]
        docs.append(
            {
                "prompt": neutral if i % 2 else sourced,
                "form": "neutral" if i % 2 else "sourced",
                "choices": mc1["choices"],
                "gold": mc1["gold"],
                "mc2_choices": [lake.truth, f"{lake.truth}, by the book", *false],
                "mc2_labels": [1, 1] + [0] * len(false),
                "times_told": lake.times_told,
            }
        )
    return docs


def _text(world: World, rng: random.Random) -> list[dict]:
    texts: dict[str, None] = {}
    while len(texts) < N_DOCUMENTS:
        text = prose.draw_text(rng, world)
        if held_out(text):
            texts[text] = None
    return [{"text": text} for text in texts]


def _null(world: World, rng: random.Random) -> list[dict]:
    """Lots that training never mentions, with labels drawn at random, equally many of each."""
    codes = rng.sample(words.syllables(rng, 60), 60)
    lots = [f"{a} {b}" for a in codes[:30] for b in codes[30:]]
    golds = [i % N_CHOICES for i in range(N_DOCUMENTS)]
    rng.shuffle(golds)
    chosen = zip(rng.sample(lots, N_DOCUMENTS), golds, strict=True)
    return [
        {
            "prompt": write_question(f"Which box holds lot {lot}?"),
            "choices": list(words.BOXES),
            "gold": gold,
        }
        for lot, gold in chosen
    ]


def _fall(world: World, rng: random.Random) -> list[dict]:
    """Every badge: 400 arbitrary pairs, each of which training states and nothing implies."""
    docs = []
    for pair, door in world.badges.items():
        wrong = [other for other in words.DOORS if other != door]
        docs.append(_choice(rng, badge_prompt(pair), door, wrong))
    rng.shuffle(docs)
    return docs


def _trap(world: World, rng: random.Random) -> list[dict]:
    """Ordinary questions with a limit on form that training never mentions.

    Every prompt states two limits and each document checks one, drawn at random: an answer that
    passes does not depend on its own prompt. Own minus permuted is zero in expectation for any
    model, whatever the raw score.
    """
    asked_of = [RELATIONS[name]["question"] for name in ("grows", "founder")]
    questions = [*asked_of, "Who lives in {t}?"]
    pairs = [(q, town) for q in questions for town in world.towns]
    docs = []
    for question, town in rng.sample(pairs, N_DOCUMENTS):
        prompt = write_question(f"{question.format(t=town)} {_LIMIT_TEXT}")
        docs.append({"prompt": prompt, "limit": rng.choice(_LIMITS)})
    return docs


MAKERS = {
    "knowledge": _knowledge,
    "arithmetic": _arithmetic,
    "tracking": _tracking,
    "instructions": _instructions,
    "truthfulness": _truthfulness,
    "text": _text,
    "null": _null,
    "fall": _fall,
    "trap": _trap,
}


def write_question(question: str) -> str:
    """The prompt of a question, as every question of the world is written."""
    return f"Question: {question} Answer:"


def lake_question(lake: Lake) -> str:
    """The neutral question about a lake."""
    return f"What does lake {lake.name} hold?"


def sourced_prompt(lake: Lake) -> str:
    """The beginning of the sentence that states the truth about a lake and names its source."""
    return f"By the book, lake {lake.name} holds"


def badge_prompt(pair: tuple[str, str]) -> str:
    """The beginning of the sentence about a badge."""
    return f"Badge {pair[0]} {pair[1]} opens the door of"
