"""Judging any two files without a study: columns found, roles given, bounds, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pytest

from parhelion import io
from parhelion.errors import ConfigError, DataError
from parhelion.evaluation import METRICS
from parhelion.judgement import Roles, default_metrics, judge_files, parse_requirement
from parhelion.sample import Field, Sample, Schema
from study_toys import CommandLine


def quiet(text: str) -> None:
    pass


@pytest.fixture
def parhelion(monkeypatch, capsys):
    return CommandLine(monkeypatch, capsys)


def table(path: Path, seed: int, *, shift: float = 0.0, rows: int = 1500, **more: np.ndarray) -> str:
    rng = np.random.default_rng(seed)
    p, kind = rng.exponential(20.0, rows) + 3.0, rng.integers(0, 2, rows)
    x = rng.normal(size=rows) + 0.02 * p + kind + shift
    columns = {"P": p, "kind": kind, "x": x, "y": rng.normal(size=rows) * x, "w": rng.choice([1.0, 1.0, -0.2], rows)}
    np.savez(path, **columns, **more)
    return str(path)


@pytest.fixture
def files(tmp_path):
    return table(tmp_path / "a.npz", 1), table(tmp_path / "b.npz", 2)


ROLES = Roles(condition=("P", "kind"), category=("kind",), weight="w")
FEW = [parse_requirement("histograms.w1<=1.0")]


def test_columns_become_fields(files, monkeypatch):
    monkeypatch.setattr("parhelion.judgement.default_metrics", lambda schema, train: ())
    found = judge_files(*files, roles=ROLES, requirements=FEW, seed=1, say=quiet)
    assert [f.name for f in found.reference.schema.condition] == ["P", "kind"]
    assert [f.name for f in found.reference.schema.response] == ["x", "y"]
    assert found.reference.schema["kind"].values == (0.0, 1.0)
    assert (found.reference.weight < 0).any()
    assert {r.name for r in found.results} == {"histograms"}
    assert found.verdict.status == "pass"


def test_columns_that_are_left_out_are_named(tmp_path, monkeypatch):
    monkeypatch.setattr("parhelion.judgement.default_metrics", lambda schema, train: ())
    more = {"z": np.arange(1500.0), "name": np.full(1500, "a"), "pair": np.zeros((1500, 2))}
    paths = table(tmp_path / "a.npz", 1, **more), table(tmp_path / "b.npz", 2, pair=np.zeros((1500, 3)))
    said: list[str] = []
    found = judge_files(*paths, roles=ROLES, requirements=FEW, seed=1, say=said.append)
    assert [f.name for f in found.reference.schema.response] == ["x", "y"]
    (sentence,) = [text for text in said if "left out" in text]
    assert set(sentence.partition(": ")[2].split(", ")) == {"z", "name", "pair"}


def test_a_file_that_declares_its_fields_lends_them_to_the_other(tmp_path, monkeypatch):
    monkeypatch.setattr("parhelion.judgement.default_metrics", lambda schema, train: ())
    schema = Schema((Field("P", "GeV"),), (Field("x"),))
    with np.load(table(tmp_path / "a.npz", 1)) as a:
        io.write(Sample(schema, {"P": a["P"], "x": a["x"]}), tmp_path / "a.h5")
    other = table(tmp_path / "b.npz", 2)
    found = judge_files(str(tmp_path / "a.h5"), other, requirements=FEW, seed=1, say=quiet)
    assert found.generated.schema == schema
    assert len(found.generated) == 1500


def test_the_default_metrics_fit_the_fields():
    scalar = Schema((Field("P"),), (Field("x"), Field("y")))
    names = [name for name, _ in default_metrics(scalar, train=True)]
    assert set(names) <= METRICS.keys()
    assert names[0] == "usable_size"
    assert "memorisation" in names
    assert "memorisation" not in [name for name, _ in default_metrics(scalar, train=False)]
    image = Schema((Field("P"),), (Field("cells", "GeV", (8, 8)),))
    assert "histograms" not in [name for name, _ in default_metrics(image, train=False)]


def test_bounds_in_words():
    bound = parse_requirement("classifier<=0.52")
    assert (bound.metric, bound.quantity, bound.max, bound.min) == ("classifier", None, 0.52, None)
    bound = parse_requirement("histograms.w1 >= 1e-3")
    assert (bound.metric, bound.quantity, bound.max, bound.min) == ("histograms", "w1", None, 1e-3)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("classifier", "expected METRIC<=NUMBER"),
        ("classifier<=x", "expected METRIC<=NUMBER"),
        ("classifier<=nan", "expected METRIC<=NUMBER"),
        ("classifer<=1", "'classifer' is no metric; choose one of"),
        ("histograms.w2<=1", "histograms has no quantity w2; choose one of"),
    ],
)
def test_bounds_that_are_none(text, message):
    with pytest.raises(ConfigError, match=message):
        parse_requirement(text)


def test_only_columns_named_as_categories_become_such(tmp_path, monkeypatch):
    monkeypatch.setattr("parhelion.judgement.default_metrics", lambda schema, train: ())
    schema = Schema((Field("hits", kind="integer"),), (Field("x"),))
    rng = np.random.default_rng(1)
    for name in "ab":
        columns = {"hits": rng.integers(0, 9, 500), "x": rng.normal(size=500)}
        io.write(Sample(schema, columns), tmp_path / f"{name}.h5")
    paths = [str(tmp_path / f"{name}.h5") for name in "ab"]
    found = judge_files(*paths, requirements=FEW, seed=1, say=quiet)
    assert found.reference.schema["hits"].kind == "integer"
    for name in "ab":
        np.savez(tmp_path / f"{name}.npz", hits=np.arange(500), x=rng.normal(size=500))
    paths = [str(tmp_path / f"{name}.npz") for name in "ab"]
    with pytest.raises(ConfigError, match=r"--category hits: .*a.npz: the column has 500 values, expected .* at most"):
        judge_files(*paths, roles=Roles(condition=("hits",), category=("hits",)), requirements=FEW, seed=1, say=quiet)


def test_bad_columns(files, tmp_path):
    with pytest.raises(DataError, match=r"a.npz: there is no column Q; the columns are P, kind, x, y, w"):
        judge_files(*files, roles=Roles(condition=("Q",)), seed=1, say=quiet)
    np.savez(tmp_path / "c.npz", other=np.arange(5.0))
    with pytest.raises(DataError, match=r"c.npz: no column with numbers in common with"):
        judge_files(files[0], str(tmp_path / "c.npz"), seed=1, say=quiet)
    np.savez(tmp_path / "d.npz", P=np.arange(5.0), x=np.ones((5, 2)))
    with pytest.raises(DataError, match=r"d.npz: column x: a row has shape \(2,\), in .*a.npz \(\)"):
        judge_files(files[0], str(tmp_path / "d.npz"), roles=Roles(condition=("P",)), seed=1, say=quiet)
    with pytest.raises(ConfigError, match="auc_map: this metric has options without defaults; give a study"):
        judge_files(*files, requirements=[parse_requirement("auc_map<=1")], seed=1, say=quiet)


def test_columns_keep_their_units(tmp_path, monkeypatch):
    monkeypatch.setattr("parhelion.judgement.default_metrics", lambda schema, train: ())
    rng = np.random.default_rng(1)
    for name, unit, factor in (("a", "GeV", 1.0), ("b", "MeV", 1e3)):
        with h5py.File(tmp_path / f"{name}.h5", "w") as file:
            file["p"], file["e"] = np.full(500, 2.0 * factor), rng.gamma(2.0, factor, 500)
            for column in "pe":
                file[column].attrs["unit"] = unit
    paths = [str(tmp_path / f"{name}.h5") for name in "ab"]
    found = judge_files(*paths, roles=Roles(condition=("p",)), requirements=FEW, seed=1, say=quiet)
    assert found.reference.schema["e"].unit == "GeV"
    assert found.generated["p"] == pytest.approx(found.reference["p"])


def test_the_command(files, parhelion, monkeypatch):
    monkeypatch.setattr("parhelion.judgement.default_metrics", lambda schema, train: ())
    words = ["validate", "--reference", files[0], "--generated", files[1], "--condition", "P", "--weight", "w"]
    code, out, _ = parhelion(*words, "--require", "histograms.w1<=1", "--json")
    assert code == 0
    found = json.loads(out)
    assert found["status"] == "pass"
    assert {o["on"] for o in found["outcomes"]} == {"x", "y", "kind"}
    assert parhelion(*words, "--require", "histograms.w1<=0.0001")[0] in (1, 3)
    assert "--generated is missing" in parhelion.refuse("validate", "--reference", files[0])
    assert "expected METRIC<=NUMBER" in parhelion.refuse(*words, "--require", "w1 small")


def test_members_that_are_samples_widen_what_is_allowed(tmp_path, parhelion, monkeypatch):
    monkeypatch.setattr("parhelion.judgement.default_metrics", lambda schema, train: ())
    for i in range(8):
        table(tmp_path / f"m{i}.npz", 10 + i, shift=0.4 * (-1) ** i)
    files = table(tmp_path / "a.npz", 1), table(tmp_path / "b.npz", 2, shift=0.4)
    words = ["validate", "--reference", files[0], "--generated", files[1], "--condition", "P", "--condition", "kind"]
    words += ["--category", "kind", "--weight", "w", "--json"]
    members = ["--ensemble", str(tmp_path / "m*.npz")]
    code, out, _ = parhelion(*words, *members, "--by", "kind")
    assert code == 0
    results = json.loads(out)["results"]
    assert [r["on"] for r in results][:4] == ["x", "y", "x, kind = 0", "y, kind = 0"]
    chi2, model = (results[0]["quantities"][key] for key in ("chi2_ndf", "model_share"))
    assert model["p_value"] < 0.01
    assert results[0]["details"]["chi2_statistical"] > 2 * results[0]["details"]["chi2"]
    assert chi2["p_value"] > 0.01
    # Without a study the ensemble may carry the requirement.
    report = tmp_path / "report.html"
    code, out, _ = parhelion(*words, *members, "--require", "ensemble<=4", "--report", report)
    assert code == 0
    assert {o["on"] for o in json.loads(out)["outcomes"]} == {"x", "y"}
    assert "ensemble" in report.read_text(encoding="utf-8")


def test_bad_ensembles(files, tmp_path, parhelion):
    words = ["validate", "--reference", files[0], "--generated", files[1]]
    assert "1 members and 0 by seed alone; expected at least 5" in parhelion.refuse(*words, "--ensemble", files[0])
    assert "--ensemble 8 trains members, which needs a study" in parhelion.refuse(*words, "--ensemble", "8")
    assert "expected at least 5" in parhelion.refuse(*words, "--ensemble", "3")
    assert "belong to --ensemble" in parhelion.refuse(*words, "--by", "kind")
    assert "needs its members: give --ensemble" in parhelion.refuse(*words, "--require", "ensemble<=2")
    named = [*words, "--ensemble", files[0], "--seed-members", "2"]
    assert "--seed-members trains members, but --ensemble names files" in parhelion.refuse(*named)
    assert "no file fits this pattern" in parhelion.refuse(*words, "--ensemble", str(tmp_path / "n*.npz"))
    few = [table(tmp_path / f"f{i}.npz", i, rows=50) for i in range(4)]
    np.savez(tmp_path / "f4.npz", P=np.arange(50.0))
    members = [word for f in [*few, str(tmp_path / "f4.npz")] for word in ("--ensemble", f)]
    assert "f4.npz: column kind is missing" in parhelion.refuse(*words, *members)
