from __future__ import annotations

from pathlib import Path

import pytest

from parhelion.config import load_study, shipped_studies
from parhelion.errors import ConfigError
from study_toys import TINY, change

_SPLOT = "  splot:\n    mass: m\n    models:\n      all: {window: [0, 1], signal: gaussian}"
_WITH_MASS = ("      b:\n    weight: w", f"      b:\n    extra: {{m: {{}}}}\n{_SPLOT}")
_SIMULATED = (
    "title: x\ndata:\n  train: {simulator: rich, rows: 9, seed: 1}\nsurrogate: {kind: matching}\n"
    "training: {steps: 1}\nmetrics: [histograms]\n"
)


def _load(tmp_path: Path, text: str):
    path = tmp_path / "s.yaml"
    path.write_text(text)
    return load_study(path)


@pytest.mark.parametrize("name", sorted(shipped_studies()))
def test_shipped_studies_are_right(name: str) -> None:
    study = load_study(name)
    assert study.name == name
    assert study.requirements


def test_a_study_becomes_typed(tmp_path: Path) -> None:
    study = _load(tmp_path, TINY)
    assert study.family == "matching"
    assert study.surrogate.width == 16
    assert [name for name, _ in study.metrics] == ["histograms", "structure"]
    assert study.requirements[0].max == 2
    assert study.folder == tmp_path
    layout = study.config.data.train.layout()
    assert [s.field.name for s in layout.sources] == ["P", "pid", "a", "b"]
    assert layout.condition[0].factor(None) == pytest.approx(1e-3)
    assert layout.condition[1].field.labels == ("pi", "K")


def test_trainings_have_the_seed_of_the_study_unless_they_have_their_own(tmp_path: Path) -> None:
    assert _load(tmp_path, TINY).config.training.seed == 3
    assert _load(tmp_path, change(("  steps: 20", "  steps: 20\n  seed: 8"))).config.training.seed == 8


def test_a_source_need_not_say_its_kind(tmp_path: Path) -> None:
    assert _load(tmp_path, change(("    kind: files\n", ""))).config.data.train.kind == "files"
    assert _load(tmp_path, _SIMULATED).config.data.train.kind == "simulator"


def test_labels_may_be_numbers(tmp_path: Path) -> None:
    study = _load(tmp_path, change(("{pi: 211, K: 321}", "{0: 211, 1: 321}")))
    assert study.config.data.train.layout().condition[1].field.labels == ("0", "1")


def test_a_requirement_may_say_what_it_is_on(tmp_path: Path) -> None:
    study = _load(tmp_path, change(("quantity: differing,", "on: exact equalities,")))
    assert study.requirements[0].on == "exact equalities"


def test_the_fingerprint_is_that_of_what_shapes_the_surrogate(tmp_path: Path) -> None:
    same = _load(tmp_path, TINY).fingerprint
    assert _load(tmp_path, "# a comment\n" + change(("max: 2", "max: 1"))).fingerprint == same
    assert _load(tmp_path, change(("title: tiny", "title: other"))).fingerprint == same
    for pair in (("width: 16", "width: 17"), ("steps: 20", "steps: 21"), ("seed: 3", "seed: 4"), ("weight: w", "")):
        old = pair if pair[1] else ("    weight: w\n", "")
        assert _load(tmp_path, change(old)).fingerprint != same


@pytest.mark.parametrize(
    ("pairs", "line", "message"),
    [
        ([("seed: 3", "sead: 3")], 2, "sead: this key is unknown here"),
        ([("  steps: 20", "  stepz: 20")], 20, "training.stepz: this key is unknown here"),
        ([("  width: 16", "  wdith: 16")], 16, "surrogate.wdith: this key is unknown here"),
        ([("P: {unit: GeV,", "P: {units: GeV,")], 8, "data.train.condition.P.units: this key is unknown here"),
        ([("title: tiny\n", "")], 1, "title: this key is missing"),
        ([("    files: toy.root\n", "")], 4, "data.train.files: this key is missing"),
        ([("batch_size: 256", "batch_size: many")], 21, "batch_size: input should be a valid integer"),
        ([("seed: 3", "seed: -3")], 2, "seed: input should be greater than or equal to 0, got -3"),
        ([("  steps: 20\n", "")], 19, "training has no budget; give steps, seconds, or both"),
        ([("kind: files", "kind: fils")], 4, "data.train: expected kind: files with the key files, or"),
        ([("kind: matching", "kind: matchin")], 15, "'matchin' is no family; choose one of"),
        ([("kind: matching", "kind: student")], 15, "'student' is no family"),
        ([("kind: matching", "kind: [x]")], 15, "['x'] is no family"),
        ([("  - structure", "  - structur")], 24, "'structur' is no metric; choose one of"),
        ([("  - structure", "  - {metric: [x]}")], 24, "['x'] is no metric"),
        ([("  - structure", "  - {metric: structure, bye: pid}")], 24, "metrics.1.bye: this key is unknown here"),
        ([("  - structure", "  - {metric: structure, replicas: 3}")], 24, "replicas 3"),
        ([("  - structure", "  - {metric: structure, by: a}")], 24, "a is no category; the categories are pid"),
        ([("- histograms", "- {metric: histograms, fields: [a, q]}")], 23, "there is no field q; the fields"),
        ([("metrics:\n", "loss_fields: [a, q]\nmetrics:\n")], 22, "there is no field q; the fields"),
        ([("metric: structure, quantity: differing", "metric: classifier")], 26, "does not compute classifier"),
        ([("quantity: differing", "quantity: difering")], 26, "structure has no quantity difering; choose one of"),
        ([("{metric: structure, quantity: differing, max: 2}", "structure")], 26, "expected keys with values"),
        ([("quantity: differing, max: 2", "quantity: differing")], 26, "neither max nor min is given"),
        ([("\nrequirements", "\nstudent_requirements")], 25, "the study has no student"),
        ([("file_unit: MeV", "file_unit: cm")], 8, "field P: unit 'cm' cannot be converted to 'GeV'"),
        ([("{pi: 211, K: 321}", "{pi: 211}")], 9, "a category is a scalar with at least two distinct values"),
        ([("    weight: w", "    weight: w\n    selection: P >>> 3")], 14, "character 5: invalid syntax"),
        ([("      a: {}\n      b:\n", "")], 10, "both condition and response need at least one field"),
        ([("  blocks: 1", "  blocks: 1\n  codec: {response: [quantil]}")], 18, "transform 'quantil' is unknown"),
        ([("  blocks: 1", "  blocks: 1\n  codec: {structure: {differences: {x: a}}}")], 18, "x is no such field"),
        ([("  blocks: 1", "  blocks: 1\n  codec: {structure: {diferences: {}}}")], 18, "diferences: this key is"),
        ([_WITH_MASS, ("signal: gaussian", "signal: gausian")], 17, "unknown signal mass shape 'gausian'"),
        ([_WITH_MASS, ("[0, 1]", "[1, 0]")], 17, "window 1 to 0, expected a lower end below an upper end"),
        ([_WITH_MASS, ("[0, 1]", "[0]")], 17, "expected two numbers"),
        ([_WITH_MASS, ("mass: m\n", "mass: mm\n")], 15, "there is no field mm; the fields"),
        ([_WITH_MASS, ("mass: m\n", "mass: m\n    by: pid\n")], 18, "pid has no value called all; its values are"),
        ([_WITH_MASS, ("    extra", "    weight: w\n    extra")], 13, "cannot have weights already"),
        ([("    weight: w", "    weight: w\n  test: {files: toy.root}")], 14, "these are the rows of train"),
    ],
)  # fmt: skip
def test_an_error_names_its_line(tmp_path: Path, pairs: list[tuple[str, str]], line: int, message: str) -> None:
    text = TINY
    for old, new in pairs:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    with pytest.raises(ConfigError) as caught:
        _load(tmp_path, text)
    assert f"s.yaml, line {line}: " in str(caught.value), str(caught.value)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("rows: 9", "rows: lots", "line 3: data.train.rows: input should be a valid integer"),
        ("simulator: rich", "simulator: rack", "line 3: data.train.simulator: 'rack' is no simulator; choose"),
        ("rows: 9", "rows: 9, calibrating: true", "line 3: data.train.calibrating: this key is unknown here"),
        (
            "simulator: rich",
            "simulator: camel, share: 2",
            "line 3: data.train: camel: centre 4, width 1, share 2; expected",
        ),
        (
            "simulator: rich",
            "simulator: camel, width: wide",
            "line 3: data.train.width: input should be a valid number",
        ),
        ("rows: 9", "rows: 9, true_signal: true", "only a calibration simulation has a true signal"),
        ("seed: 1}", "seed: 1}\n  test: {simulator: rich, rows: 99, seed: 1}", "line 4: data.test: these are the rows"),
        ("seed: 1}", "seed: 1}\n  splot: {models: {x: {window: [1, 2]}}}", "simulate with calibration: true"),
        ("[histograms]", "[{metric: histograms, by: P}]", "P is no category; the categories are pid"),
        ("kind: matching", "kind: matching, codec: {structure: {thresholds: {PP: [1]}}}", "PP is no such field"),
    ],
)
def test_simulated_studies_are_checked_against_the_simulators_fields(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        _load(tmp_path, _SIMULATED.replace(old, new))
    assert message in str(caught.value)


def test_axes_are_numeric_conditions_and_labels_exist(tmp_path: Path) -> None:
    metric = "- metric: auc_map\n    category: pid\n    x: P\n    y: {y}\n    pairs: [{pair}]"
    for y, pair, message in (
        ("a", "signal: K, background: pi, variable: a", "a is no numeric condition; these are P"),
        ("P", "signal: p, background: pi, variable: a", "pid has no value called p"),
        ("P", "signal: K, background: pi, variable: a, z: 1", r"line 28: metrics\.1\.pairs\.0\.z: this key is unknown"),
    ):
        entry = metric.format(y=y, pair=f"{{{pair}}}")
        bound = ("metric: structure, quantity: differing", "metric: auc_map")
        with pytest.raises(ConfigError, match=message):
            _load(tmp_path, change(("- structure", entry), bound))


def test_names_that_are_no_study(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nothere: there is no such study; give one of .*rich"):
        load_study("nothere")
    with pytest.raises(ConfigError, match=r"nothere\.yaml: cannot be read .* `parhelion list`"):
        load_study(tmp_path / "nothere.yaml")
