"""The floors of the house: every import in the package goes down, and none goes in a circle."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import parhelion

HOME = Path(parhelion.__file__).parent

# One line a step, the lowest first. A place may import from the lines above its own.
FLOORS = (
    # 0: errors, files, the sample
    ("errors", "progress", "section"),
    ("files", "noise", "weights", "yamlfile"),
    ("phases", "sample"),
    ("provenance", "split"),
    # 1: building blocks
    ("executors", "io", "networks", "splot", "transforms"),
    ("dask_executor", "data", "observables"),
    # 2: what makes rows
    ("simulators", "surrogates"),
    # 3: training and judging
    ("evaluation", "training"),
    # 4: what a study ships
    ("deploy", "report"),
    # 5: studies
    ("ensemble_members", "observed", "replica_sections", "template"),
    ("checks", "sections"),
    ("config",),
    ("sources",),
    ("adapted", "ensembles", "replicas"),
    ("judgement", "study"),
    # 6: the command line
    ("commands", "inspection"),
    ("cli",),
    ("__main__",),
)

EVALUATION = (
    # What a metric answers, two samples side by side, statistics that metrics share.
    ("results", "samples"),
    ("statistics",),
    # The metrics; no family knows another.
    ("classifiers", "distances", "distributions", "inference", "model", "neighbours", "physics"),
    # All of them.
    ("registry",),
    ("evaluating",),
    ("arrays",),
)

# `executors` loads the one of Dask, which is built on it, when it is asked for.
UPWARD = {("executors", "dask_executor")}


def name_of(path: Path) -> str:
    parts = ("parhelion", *path.relative_to(HOME).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def trees() -> dict[str, ast.Module]:
    return {name_of(path): ast.parse(path.read_text()) for path in sorted(HOME.rglob("*.py"))}


def for_types_alone(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def statements(node: ast.AST, *, within_functions: bool) -> Iterator[ast.AST]:
    """All nodes below one that may run, those inside functions too if wanted."""
    for child in ast.iter_child_nodes(node):
        if for_types_alone(child):
            continue
        yield child
        if within_functions or not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield from statements(child, within_functions=within_functions)


@cache
def imports(module: str, *, within_functions: bool = True) -> frozenset[str]:
    """Modules of the package that a module imports."""
    found = []
    for node in statements(trees()[module], within_functions=within_functions):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: expected imports by full name"
            inner = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name if name in trees() else str(node.module) for name in inner]
        else:
            continue
        found += [name for name in names if name.split(".")[0] == "parhelion"]
    return frozenset(found)


def place(module: str, within: str) -> str | None:
    """The part of a package that a module lies in, as `io` for `parhelion.io.root`.

    None for the package's own front, which loads its names when they are used, and for what lies elsewhere.
    """
    return module[len(within) + 1 :].split(".")[0] if module.startswith(f"{within}.") else None


def upward(steps: Sequence[Sequence[str]], within: str) -> set[tuple[str, str]]:
    step = {name: k for k, names in enumerate(steps) for name in names}
    pairs = {(place(module, within), place(other, within)) for module in trees() for other in imports(module)}
    return {(a, b) for a, b in pairs if a is not None and b is not None and a != b and step[b] >= step[a]}


@pytest.mark.parametrize(("steps", "within"), [(FLOORS, "parhelion"), (EVALUATION, "parhelion.evaluation")])
def test_every_place_has_one_floor(steps, within):
    listed = [name for names in steps for name in names]
    assert len(listed) == len(set(listed))
    assert set(listed) == {place(module, within) for module in trees()} - {None}


def test_imports_go_down():
    assert upward(FLOORS, "parhelion") == UPWARD


def test_imports_among_the_parts_of_evaluation_go_down():
    assert upward(EVALUATION, "parhelion.evaluation") == set()


def test_nothing_inside_evaluation_needs_its_front():
    inside = [module for module in trees() if module.startswith("parhelion.evaluation.")]
    assert [m for m in inside if "parhelion.evaluation" in imports(m)] == []


def test_no_module_imports_itself_through_others():
    graph = {module: imports(module, within_functions=False) - {"parhelion"} for module in trees()}
    assert len(list(TopologicalSorter(graph).static_order())) == len(graph)


def test_all_imported_modules_exist():
    missing = {(m, o) for m in trees() for o in imports(m) if o not in trees()}
    assert missing == set()


def test_fronts_of_the_parts_of_evaluation_hold_a_docstring_alone():
    for path in sorted((HOME / "evaluation").glob("*/__init__.py")):
        tree = ast.parse(path.read_text())
        assert ast.get_docstring(tree)
        assert len(tree.body) == 1, path
