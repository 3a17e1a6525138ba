"""Which room may import which: pipelines -> components -> cfnsr, and inside cfnsr without circles."""

from collections import defaultdict
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise

import pytest
from helpers.imports import PACKAGES, imported, imported_names, sources

# Packages that cfnsr must not need, with the modules that may import them all the same.
OUTSIDE_CFNSR = {
    "mlflow": {"cfnsr.registry"},
    "dvc": set(),
    "prefect": set(),
    "optuna": set(),
}


def room(module: str) -> str:
    """`cfnsr.media` for `cfnsr.media.audio`; components and pipelines are one room each."""
    parts = module.split(".")
    return ".".join(parts[:2]) if parts[0] == "cfnsr" else parts[0]


def test_rooms_do_not_import_each_other_in_a_circle():
    needs: dict[str, set[str]] = defaultdict(set)
    imports: dict[tuple[str, str], set[str]] = defaultdict(set)
    for module, path in sources().items():
        for other in imported(path):
            if room(other) != room(module):
                needs[room(module)].add(room(other))
                imports[room(module), room(other)].add(f"{module} -> {other}")
    try:
        TopologicalSorter(needs).prepare()
    except CycleError as error:
        circle = error.args[1]  # each room is needed by the next one
        arrows = [sorted(imports[later, earlier]) for earlier, later in pairwise(circle)]
        pytest.fail(f"{' <- '.join(circle)}: {arrows}")


def test_packages_are_imported_in_one_direction():
    order = {package: number for number, package in enumerate(PACKAGES)}
    assert not [
        f"{module} -> {other}"
        for module, path in sources().items()
        for other in imported(path)
        if order[other.split(".")[0]] > order[module.split(".")[0]]
    ]


@pytest.mark.parametrize("package", OUTSIDE_CFNSR)
def test_the_library_knows_nothing_of_the_pipelines_tools(package):
    users = {
        module
        for module, path in sources().items()
        if module.split(".")[0] == "cfnsr" and package in {name.split(".")[0] for name in imported_names(path)}
    }
    assert users == OUTSIDE_CFNSR[package]
