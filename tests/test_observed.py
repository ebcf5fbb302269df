"""Observables in studies and in `parhelion validate`: what is compared, and what is said of mistakes."""

from __future__ import annotations

import json

import numpy as np
import pytest

import study_toys
from parhelion import io
from parhelion.config import load_study
from parhelion.errors import ConfigError, DataError
from parhelion.evaluation import METRICS, evaluate
from parhelion.io.binning import DATASETS
from parhelion.io.calochallenge import write_showers
from parhelion.judgement import judge_files, parse_requirement
from parhelion.observables import add_observables, build, observe, observed, require_scale, stream_observables
from parhelion.observed import OnResponse, evaluate_observed
from parhelion.sample import Field, Sample, Schema
from parhelion.study import Study

SIDE = 8
STUDY = """\
title: showers
seed: 2
data:
  train: {files: showers.h5}
  test_share: 0.4
surrogate:
  kind: library
  codec: {response: [], threshold: 1.0e-4, directions: [[px, py, pz]], knots: 0}
training: {steps: 1}
observables:
  - {kind: ecal, levels: [1.0e-2, 1.0e-1], spectrum: [1.0e-3, 10.0, 6], rings: [0, 40, 80]}
metrics:
  - {metric: histograms, fields: [width_along, response], replicas: 20}
  - {metric: classifier, trees: 5, importance: false, train_null: false}
  - {metric: classifier, on: response, trees: 5, importance: false, train_null: false}
  - {metric: differential, x: incident_energy, fields: [response], replicas: 20, bins: 2}
requirements:
  - {metric: classifier, on: conditions and observables, max: 0.99}
  - {metric: classifier, on: conditions and responses, max: 0.99}
  - {metric: histograms, on: response, quantity: separation, max: 0.5}
"""


def showers(n=600, *, seed=1, unit="GeV", wide=1.0) -> Sample:
    """Gaussian showers that follow their track, of 18 % response."""
    rng = np.random.default_rng(seed)
    p = rng.uniform(2, 20, n)
    slope = rng.normal(0, 0.1, (n, 2))
    pz = p / np.sqrt(1 + np.sum(slope**2, axis=1))
    at = rng.uniform(-5, 5, (n, 2))
    centre = (np.arange(SIDE) - (SIDE - 1) / 2) * 20.0
    x, y = ((centre[None] - at[:, [i]] - 120 * slope[:, [i]]) / (25 * wide) for i in (0, 1))
    image = np.exp(-0.5 * (x[:, :, None] ** 2 + y[:, None, :] ** 2)) * rng.gamma(4, 0.25, (n, SIDE, SIDE))
    image *= (0.18 * p * rng.normal(1, 0.03, n) / image.sum(axis=(1, 2)))[:, None, None]
    fields = [Field(name, "GeV") for name in ("px", "py", "pz")] + [Field(name, "mm") for name in ("x", "y")]
    schema = Schema(tuple(fields), (Field("energy", unit, (SIDE, SIDE)),))
    columns = {"px": pz * slope[:, 0], "py": pz * slope[:, 1], "pz": pz, "x": at[:, 0], "y": at[:, 1], "energy": image}
    return Sample(schema, columns)


@pytest.fixture
def sample() -> Sample:
    return showers()


@pytest.fixture
def sets(sample):
    return build([("ecal", None)], sample.schema)


def test_observables_do_not_depend_on_the_portions(sample, sets, monkeypatch):
    whole = add_observables(sample, sets)
    monkeypatch.setattr("parhelion.observables.base._PORTION", 7 * SIDE * SIDE)
    pieces = add_observables(sample, sets)
    streamed = list(stream_observables((sample.take(slice(at, at + 100)) for at in range(0, 600, 100)), sets))
    for field in sets[0].all_fields:
        # Matrix products of other sizes round differently.
        assert pieces[field.name] == pytest.approx(whole[field.name], rel=1e-9, abs=1e-9)
        assert np.concatenate([p[field.name] for p in streamed]) == pytest.approx(whole[field.name], rel=1e-9, abs=1e-9)


def test_what_analyses_see_has_observables_for_responses(sample, sets):
    schema = observed(sample.schema, sets)
    assert schema.condition[0].name == "incident_energy"
    assert "width_along" in [f.name for f in schema.response]
    assert [f.name for f in schema.extra] == ["energy", "spectrum", "radial_profile"]
    seen = observe(add_observables(sample, sets), schema)
    assert seen["response"] == pytest.approx(np.full(600, 0.18), rel=0.2)
    assert seen["incident_energy"].min() > 1.99
    # The depth at which the toy's showers are is the one that the set takes.
    assert np.mean(seen["shift_x"]) == pytest.approx(0, abs=0.6)


def test_metrics_see_observables_or_cells(sample, sets):
    other = showers(seed=2, wide=1.6)
    quick = METRICS["classifier"].options(trees=10, importance=False, train_null=False)
    histograms = METRICS["histograms"].options(fields=("width_across",), replicas=20)
    metrics = [("classifier", quick), ("classifier", OnResponse(quick)), ("histograms", histograms)]
    found = evaluate_observed(sample, other, metrics, sets, seed=1)
    assert [r.on for r in found] == ["conditions and observables", "conditions and responses", "width_across"]
    assert "width_along" in found[0].details["features"]
    assert "energy[63]" in found[1].details["features"]
    # Wider showers are told apart either way.
    assert min(r.value for r in found[:2]) > 0.9
    assert found[2].quantity("separation").value > 0.3
    assert set(found[0].fields) == {f.name for f in sets[0].fields}
    plain = evaluate(sample, other, [("classifier", quick)], seed=1)
    assert plain[0].value == found[1].value


def test_a_study_with_observables_runs(tmp_path, monkeypatch, capsys):
    command = study_toys.CommandLine(monkeypatch, capsys)
    io.write(showers(1500), tmp_path / "showers.h5")
    (tmp_path / "study.yaml").write_text(STUDY, encoding="utf-8")
    code, out, err = command("run", tmp_path / "study.yaml", "--out", tmp_path / "run", "--json")
    assert code in (0, 1, 3), err
    outcomes = json.loads(out)["surrogate"]["outcomes"]
    assert [o["on"] for o in outcomes] == ["conditions and observables", "conditions and responses", "response"]
    report = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert "width_along" in report


def test_validate_compares_observables(tmp_path, monkeypatch, capsys):
    command = study_toys.CommandLine(monkeypatch, capsys)
    for name, seed in (("a", 1), ("b", 2)):
        io.write(showers(400, seed=seed), tmp_path / f"{name}.h5")
    files = ("--reference", tmp_path / "a.h5", "--generated", tmp_path / "b.h5")
    code, out, err = command("validate", *files, "--observables", "ecal", "--require", "sliced<=10", "--json")
    assert code == 0, err
    assert "all observables" in out
    err = command.refuse("validate", *files, "--observables", "calogan")
    assert "expected an image with a unit of energy for each layer" in err
    assert "choose one of ecal, calogan" in command.refuse("validate", *files, "--observables", "jets")


def test_validate_reads_formats_of_other_programs(tmp_path, monkeypatch, capsys):
    command = study_toys.CommandLine(monkeypatch, capsys)
    geometry, rng = DATASETS["1-photons"], np.random.default_rng(1)
    for name in "ab":
        incident = 10 ** rng.uniform(0, 3, 200)
        cells = rng.gamma(0.5, size=(200, 368))
        cells *= 0.9 * incident[:, None] / cells.sum(axis=1, keepdims=True)
        schema = Schema((Field("incident_energy", "GeV"),), (Field("energy", "GeV", (368,)),))
        write_showers(Sample(schema, {"incident_energy": incident, "energy": cells}), tmp_path / f"{name}.h5", geometry)
    files = ("--reference", tmp_path / "a.h5", "--generated", tmp_path / "b.h5")
    code, out, err = command("validate", *files, "--format", "calochallenge-1-photons", "--require", "sliced<=10")
    assert code == 0, err
    assert "PASS" in out
    assert "choose one of calochallenge-1-photons" in command.refuse("validate", *files, "--format", "delphi")
    err = command.refuse("validate", *files, "--format", "calogan")
    assert "column energy is missing" in err
    err = command.refuse("validate", *files, "--format", "calogan", "--response", "showers")
    assert "leave out the options" in err


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (
            "kind: ecal,",
            "kind: jets,",
            r", line 11: observables\.0: 'jets' is no set of observables; choose",
        ),
        ("rings: [0, 40, 80]", "rings: [40, 0]", r", line 11: .*rings: .*ascending"),
        ("rings:", "ring:", r", line 11: .*ring: this key is unknown"),
        ("on: response, trees", "on: cells, trees", r", line 15: .*'cells': expected observables or response"),
    ],
)
def test_mistakes_in_a_study_have_their_line(tmp_path, old, new, words):
    path = tmp_path / "study.yaml"
    assert old in STUDY
    path.write_text(STUDY.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(ConfigError, match=words):
        load_study(path)


def test_on_observables_needs_some(tmp_path):
    text = study_toys.change(("  - structure\n", "  - {metric: structure, on: observables}\n"))
    (tmp_path / "study.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match="the study has no observables"):
        load_study(tmp_path / "study.yaml")


@pytest.mark.parametrize(
    ("train", "words"),
    [
        ("{files: x.npz, format: delphi}", "choose one of calochallenge-1-photons"),
        ("{files: x.npz, format: {name: lhcb, cells: 3}}", "there is no option cells; there are energy_unit"),
        ("{files: x.npz, format: lhcb, condition: {P: {}}}", "the format says what the fields are"),
    ],
)
def test_mistakes_with_formats_have_their_line(tmp_path, train, words):
    text = STUDY.replace("{files: showers.h5}", train)
    (tmp_path / "study.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=rf"study\.yaml, line 4: .*{words}"):
        load_study(tmp_path / "study.yaml")


def test_a_format_gives_a_study_its_fields(tmp_path):
    text = STUDY.replace("{files: showers.h5}", "{files: x.npz, format: {name: lhcb, energy_unit: MeV}}")
    (tmp_path / "study.yaml").write_text(text, encoding="utf-8")
    layout = load_study(tmp_path / "study.yaml").config.data.train.layout()
    assert layout.schema["energy"].shape == (30, 30)


def test_a_taken_name_is_refused(sample):
    taken = sample.with_extra(Field("total", "GeV"), np.ones(len(sample)))
    with pytest.raises(ConfigError, match="there is a field total already"):
        build([("ecal", None)], taken.schema)


def test_negative_cells_are_refused(sample, sets):
    columns = {**sample.columns, "energy": sample["energy"] - 1.0}
    with pytest.raises(DataError, match="shower 0 has a cell with the negative energy"):
        add_observables(Sample(sample.schema, columns), sets)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (
            lambda energy: 1000 * energy,
            r"showers\.h5: observables ecal: the cells sum to 180 times the incident energy in the median, expected a "
            r"few percent to about 1: probably cells in MeV were taken for GeV; say the unit .*file_unit",
        ),
        (
            lambda energy: np.where(np.arange(600)[:, None, None] == 411, -0.5, energy),
            r"showers\.h5: field energy: shower 411 has a cell with the negative energy -0\.5 GeV",
        ),
    ],
)
def test_showers_that_cannot_be_stop_a_study_at_their_file(tmp_path, spoil, words):
    sample = showers()
    columns = {**sample.columns, "energy": spoil(np.asarray(sample["energy"]))}
    io.write(Sample(sample.schema, columns), tmp_path / "showers.h5")
    (tmp_path / "study.yaml").write_text(STUDY, encoding="utf-8")
    with pytest.raises(DataError, match=words):
        Study.load(tmp_path / "study.yaml").run(tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_negative_cells_are_found_without_observables_too(tmp_path):
    sample = showers()
    columns = {**sample.columns, "energy": np.where(np.arange(600)[:, None, None] == 411, -0.5, sample["energy"])}
    io.write(Sample(sample.schema, columns), tmp_path / "showers.h5")
    text = STUDY[: STUDY.index("observables:")] + "metrics: [{metric: frechet}]\n"
    (tmp_path / "study.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=r"showers\.h5: field energy: shower 411 has a cell"):
        Study.load(tmp_path / "study.yaml").run(tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_scale_is_asked_of_the_reference_alone(sample, tmp_path):
    """What a model generated may be anything: it is judged."""
    sets = build([("ecal", None)], sample.schema)
    off = Sample(sample.schema, {**sample.columns, "energy": np.asarray(sample["energy"]) * 1000})
    require_scale(sample, sets)
    require_scale(off.take(slice(0, 9)), sets)
    with pytest.raises(DataError, match="times the incident energy"):
        require_scale(off, sets)
    for name, given in (("right", sample), ("off", off)):
        io.write(given, tmp_path / f"{name}.h5")
    right, wrong = str(tmp_path / "right.h5"), str(tmp_path / "off.h5")
    with pytest.raises(DataError, match="cells in MeV were taken for GeV"):
        judge_files(wrong, right, observables=[("ecal", None)], seed=1, say=print)
    asked = parse_requirement("frechet<=0.1")
    found = judge_files(right, wrong, observables=[("ecal", None)], requirements=[asked], seed=1, say=print)
    assert not found.verdict.passed
