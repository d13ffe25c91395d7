"""Toy text with some structure, and its corpus."""

from __future__ import annotations

import random

import pytest

from anticollapse.pretraining import prepare_corpus

SUBJECTS = "the cat|a dog|my sister|the old man|a child|the queen|her teacher|the farmer".split("|")
VERBS = "eats|sees|likes|draws|sells|paints|carries|finds".split("|")
OBJECTS = "a red apple|the blue boat|some green grass|two small stones|an open book|the last train".split("|")


def toy_lines(n, seed=0):
    chosen = random.Random(seed)
    return [
        " and ".join(
            f"{chosen.choice(SUBJECTS)} {chosen.choice(VERBS)} {chosen.choice(OBJECTS)}"
            for _ in range(chosen.choice([1, 1, 2, 3, 14, 50]))
        )
        + f", number {chosen.randrange(10**6)}."
        for _ in range(n)
    ]


@pytest.fixture(scope="session")
def toy_file(tmp_path_factory):
    file = tmp_path_factory.mktemp("text") / "toy.txt"
    file.write_text("\n".join(toy_lines(600)) + "\n", encoding="utf-8")
    return file


@pytest.fixture(scope="session")
def toy(toy_file):
    return prepare_corpus([toy_file], language="en", vocabulary=150)
