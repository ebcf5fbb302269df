"""The commands export, verify and inspect on packages, from a run's folder and from a file."""

from __future__ import annotations

import json

import pytest

from parhelion.deploy.runtime import Package
from parhelion.surrogates import SURROGATES, Student
from study_toys import CommandLine


@pytest.fixture(scope="module")
def run_folder(toy, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    sample = toy.sample(1500)
    teacher = SURROGATES["matching"](sample.schema, SURROGATES["matching"].Config(width=8, blocks=1, solver_steps=2))
    teacher.prepare(sample, seed=1)
    teacher.provenance = {"study": "toy", "seed": 1}
    teacher.save(folder / "surrogate.safetensors")
    student = Student(sample.schema, Student.Config(width=8, blocks=1))
    student.learn_from(teacher, seed=1)
    student.provenance = {"study": "toy", "seed": 1}
    student.save(folder / "student.safetensors")
    verdict = {"status": "pass", "passed": True, "outcomes": [{"sentence": "as good as its bound"}]}
    failed = {"status": "fail", "passed": False, "outcomes": []}
    (folder / "verdict.json").write_text(json.dumps({"surrogate": verdict, "student": failed}))
    return folder


@pytest.fixture
def parhelion(monkeypatch, capsys):
    return CommandLine(monkeypatch, capsys)


def test_export_verify_inspect(run_folder, parhelion, tmp_path):
    out = tmp_path / "toy.onnx"
    words = ("export", run_folder, "-o", out, "--rows", "500", "--licence", "CC0-1.0")
    code, said, _ = parhelion(*words)
    assert code == 0
    # The student failed its requirements, so the exact form is taken.
    assert "matching surrogate toy (exact form)" in said
    assert Package.load(out).manifest["verdict"]["outcomes"][0]["sentence"] == "as good as its bound"
    assert "exists already" in parhelion.refuse(*words)
    code, said, _ = parhelion("verify", out)
    assert code == 0
    assert "golden rows answered" in said
    code, said, _ = parhelion("inspect", out)
    assert code == 0
    assert "verdict: pass" in said
    assert "licence: CC0-1.0" in said
    assert "2.0" in said.split("domain of the conditions:")[1]
    code, said, _ = parhelion(
        "export", run_folder, "-o", tmp_path / "s.onnx", "--form", "student", "--rows", "500", "--json"
    )
    assert code == 0
    assert json.loads(said)["form"] == "student"


def test_a_broken_package_ends_with_2(run_folder, parhelion, tmp_path):
    out = tmp_path / "toy.onnx"
    parhelion("export", run_folder, "-o", out, "--rows", "200", "-q")
    out.write_bytes(out.read_bytes()[:-1] + b"x")
    assert "toy.onnx" in parhelion.refuse("verify", out)


@pytest.mark.parametrize(
    ("words", "detail"),
    [
        (("{run}", "--form", "fast"), "--form fast: expected auto, exact, student"),
        (("{run}", "--format", "java"), "--format java: expected onnx, c"),
        (("{run}", "-o", "{tmp}/x.txt"), "expected a name that ends in .onnx"),
        (("{run}/surrogate.safetensors", "--form", "student"), "holds the exact form"),
        (("{tmp}",), "holds no trained surrogate"),
        (("{tmp}/none.safetensors",), "there is no such file"),
    ],
)
def test_bad_input(run_folder, parhelion, tmp_path, words, detail):
    given = [w.replace("{run}", str(run_folder)).replace("{tmp}", str(tmp_path)) for w in words]
    if "-o" not in given:
        given += ["-o", str(tmp_path / "out.onnx")]
    assert detail in parhelion.refuse("export", *given)
    assert not list(tmp_path.glob("*.onnx"))
