from __future__ import annotations

MUTANTS = {}


def mutant(x):
    pass
