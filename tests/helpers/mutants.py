MUTANTS = {}


def mutant(x):
    pass
