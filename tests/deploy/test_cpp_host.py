"""The C++ example, built with ONNX Runtime's C++ API: the same noise to the bit, the same guard, the same answers."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import onnx
import pytest
from cfile_toys import Compiled, student
from onnx import TensorProto, helper

from parhelion.deploy import export, manifest
from parhelion.deploy.runtime import Package, table_checksum
from parhelion.noise import normal, normal_table
from parhelion.sample import Field

ROOT = Path(__file__).parents[2]
EXAMPLE, BUILD = ROOT / "examples" / "cpp", ROOT / "build" / "cpp"
ONNXRUNTIME = Path(os.environ.get("PARHELION_ONNXRUNTIME", ROOT / "build" / "onnxruntime"))
CONDITION = (
    Field("P", "GeV"),
    Field("slope", shape=(2,)),
    Field("pid", kind="category", values=(211.0, 321.0, 2212.0), labels=("pi", "K", "p")),
)
NOISE = 6


def missing() -> str | None:
    """What the C++ example lacks on this machine."""
    if shutil.which("cmake") is None or shutil.which("c++") is None:
        return "cmake or a C++ compiler is missing"
    if not (ONNXRUNTIME / "include" / "onnxruntime_cxx_api.h").is_file():
        return f"ONNX Runtime's headers are missing; run examples/cpp/get_onnxruntime.sh {ONNXRUNTIME}"
    return None


@pytest.fixture(scope="session")
def host() -> Path:
    """The program, built once for all processes of a test run."""
    lack = missing()
    if lack is not None:
        assert "PARHELION_NEED_CPP" not in os.environ, lack
        pytest.skip(lack)
    BUILD.mkdir(parents=True, exist_ok=True)
    with (BUILD / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        configure = ["cmake", "-S", str(EXAMPLE), "-B", str(BUILD), f"-DONNXRUNTIME_ROOT={ONNXRUNTIME}"]
        for command in (configure, ["cmake", "--build", str(BUILD)]):
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return BUILD / "parhelion_host"


def write_package(path: Path, *, version: int = 1, scale: float = 1.0, momenta: bool = False) -> Path:
    """A package whose graph is noise + scale * P, so that a response shows the noise's bits where scale is 0."""
    weight = np.zeros((4, NOISE), dtype=np.float32)
    weight[0] = scale
    nodes = [
        helper.make_node("Cast", ["condition"], ["single"], to=TensorProto.FLOAT),
        helper.make_node("MatMul", ["single", "weight"], ["moved"]),
        helper.make_node("Add", ["noise", "moved"], ["response"]),
    ]
    graph = helper.make_graph(
        nodes,
        "toy",
        [
            helper.make_tensor_value_info("noise", TensorProto.FLOAT, ["n", NOISE]),
            helper.make_tensor_value_info("condition", TensorProto.DOUBLE, ["n", 4]),
        ],
        [helper.make_tensor_value_info("response", TensorProto.FLOAT, ["n", NOISE])],
        [onnx.numpy_helper.from_array(weight, "weight")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    inner = [{"columns": [0, 1, 2], "low": [0.0, -1.0, -1.0], "high": [5.0, 1.0, 1.0]}] if momenta else []
    about = {
        "format": "parhelion-package", "version": version, "name": 'a "toy" \u00b5', "kind": "toy", "form": "exact",
        "made_with": {}, "condition": manifest.fields_to_list(CONDITION),
        "response": manifest.fields_to_list((Field("r", shape=(NOISE,)),)),
        "domain": {
            "columns": [{"low": 2.0, "high": 100.0}, {"low": -1.5, "high": 1}, {"low": -1, "high": 1e2},
                        {"values": [211.0, 2212.0]}],
            "momenta": inner,
        },
        "noise": {"generator": "philox4x32-10", "width": NOISE, "key": [], "counter": [], "map": "normal-table",
                  "table_sha256": table_checksum()},
        "graph": {"opset": 17, "inputs": [], "outputs": [], "operators": []},
        "tolerance": {"relative": 1e-4, "scale": [1.0] * NOISE, "rows_beyond": 0.0},
        "verification": {}, "training": {}, "data": {}, "verdict": None, "licence": None, "author": None,
    }  # fmt: skip
    rng = np.random.default_rng(3)
    event = np.array([0, 1, (1 << 32) + 5, (1 << 62) + 1], dtype=np.int64)
    rows = np.column_stack([rng.uniform(2, 100, 4), rng.uniform(-1, 1, (4, 2)), np.full(4, 211.0)])
    noise = normal((1 << 63) + 9, event, NOISE, stage=2)
    golden = manifest.Golden((1 << 63) + 9, 2, event, rows, noise, noise + np.float32(scale) * rows[:, :1].astype("f4"))
    for key, value in (
        (manifest.MANIFEST_KEY, json.dumps(about)),
        (manifest.GOLDEN_KEY, golden.encode()),
        (manifest.CHECKSUM_KEY, manifest.empty_checksum()),
    ):
        entry = model.metadata_props.add()
        entry.key, entry.value = key, value
    path.write_bytes(manifest.seal(model.SerializeToString()))
    return path


def ask(host: Path, *words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(host), *map(str, words)], capture_output=True, text=True, check=False)


def write_rows(path: Path, rows: list[str], header: str = "event_id,pid,P,slope[0],slope[1],more") -> Path:
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def read_rows(path: Path) -> tuple[list[str], np.ndarray]:
    names = path.read_text().splitlines()[0].split(",")
    return names, np.loadtxt(path, delimiter=",", skiprows=1, ndmin=2)


def test_the_table_of_the_example_is_that_of_the_library():
    text = (EXAMPLE / "normal_table.hpp").read_text().split("= {", 1)[1]
    numbers = [float(x) for x in re.findall(r"-?\d[\d.e+-]*", text)]
    np.testing.assert_array_equal(np.reshape(numbers, (-1, 4)), normal_table().T)


def test_the_golden_block_is_replayed(host, tmp_path):
    package = write_package(tmp_path / "toy.onnx")
    done = ask(host, package, "--verify")
    assert done.returncode == 0, done.stderr
    assert "4 rows: noise differs in 0, response is beyond the tolerance in 0" in done.stdout


def test_noise_has_the_same_bits_and_answers_agree_with_python(host, tmp_path):
    event = np.concatenate([np.arange(3000), [(1 << 32) - 1, 1 << 32, (1 << 63) - 1]])
    given = write_rows(tmp_path / "in.csv", [f"{e},pi,{2 + e % 90},0.5,0,x" for e in event.tolist()])
    out = tmp_path / "out.csv"
    for scale in (0.0, 0.25):
        package = write_package(tmp_path / "toy.onnx", scale=scale)
        seed = (1 << 64) - 3
        done = ask(host, package, "--input", given, "--output", out, "--seed", seed, "--stage", 7)
        assert done.returncode == 0, done.stderr
        assert done.stdout == "3003 rows, 0 outside the domain (refuse)\n"
        names, rows = read_rows(out)
        assert names == ["event_id", *(f"r[{i}]" for i in range(NOISE))]
        condition = np.column_stack(
            [2 + event % 90, np.full(len(event), 0.5), np.zeros(len(event)), np.full(len(event), 211)]
        )
        expected, _ = Package.load(package).sample(condition.astype(float), event, seed=seed, stage=7)
        np.testing.assert_array_equal(rows[:, 1:].astype(np.float32), expected)


def test_the_guard_refuses_clamps_and_flags_as_in_python(host, tmp_path):
    package = write_package(tmp_path / "toy.onnx", momenta=True)
    # Within; momentum too high; category never seen; NaN; slope beyond its own range; magnitude beyond its range.
    values = [
        "0,pi,50,1,100",
        "1,pi,300,1,100",
        "2,K,50,1,100",
        "3,p,nan,1,100",
        "4,211,50,1.25,100",
        "5,pi,100,1,0.01",
    ]
    given = write_rows(tmp_path / "in.csv", values, "event_id,pid,P,slope[0],slope[1]")
    condition = np.array(
        [
            [50, 1, 100, 211],
            [300, 1, 100, 211],
            [50, 1, 100, 321],
            [np.nan, 1, 100, 2212],
            [50, 1.25, 100, 211],
            [100, 1, 0.01, 211],
        ]
    )
    expected = Package.load(package).outside(condition).any(axis=1)
    assert expected.tolist() == [False, True, True, True, True, True]

    refused = ask(host, package, "--input", given, "--output", tmp_path / "out.csv")
    assert refused.returncode == 2
    assert "5 of 6 rows are outside the domain (event 1: P is 300, the package knows 2 to 100 GeV)" in refused.stderr
    assert not (tmp_path / "out.csv").exists()

    flagged = ask(host, package, "--input", given, "--output", tmp_path / "out.csv", "--outside", "flag")
    assert (flagged.returncode, flagged.stdout) == (0, "6 rows, 5 outside the domain (flag)\n")
    names, rows = read_rows(tmp_path / "out.csv")
    assert names[-1] == "outside_domain"
    np.testing.assert_array_equal(rows[:, -1], expected)

    stuck = ask(host, package, "--input", given, "--output", tmp_path / "no.csv", "--outside", "clamp")
    assert stuck.returncode == 2
    assert "pid is 321, the package knows one of 211, 2212, and clamping cannot help" in stuck.stderr
    write_rows(given, values[:2], "event_id,pid,P,slope[0],slope[1]")
    clamped = ask(host, package, "--input", given, "--output", tmp_path / "out.csv", "--outside", "clamp")
    assert clamped.stdout == "2 rows, 1 outside the domain (clamp)\n"
    moved, _ = Package.load(package).sample(condition[:2], np.arange(2), seed=1, outside="clamp")
    np.testing.assert_array_equal(read_rows(tmp_path / "out.csv")[1][:, 1:].astype(np.float32), moved)


def test_an_exported_surrogate_answers_alike_in_python_in_cpp_and_in_c(host, toy, tmp_path):
    sample = toy.sample(2000, seed=1)
    surrogate = student(sample)
    package = tmp_path / "student.onnx"
    export(surrogate, package, rows=2000)
    assert ask(host, package, "--verify").returncode == 0
    condition = sample.condition
    event = np.arange(len(condition), dtype=np.int64) + (1 << 33)
    names = [f.name for f in sample.schema.condition]
    rows = [",".join([str(e), *map(repr, c)]) for e, c in zip(event.tolist(), condition.tolist(), strict=True)]
    given = write_rows(tmp_path / "in.csv", rows, ",".join(["event_id", *names]))
    done = ask(host, package, "--input", given, "--output", tmp_path / "out.csv", "--seed", 8)
    assert done.returncode == 0, done.stderr
    in_cpp = read_rows(tmp_path / "out.csv")[1][:, 1:]
    in_python, _ = Package.load(package).sample(condition, event, seed=8)
    code, in_c, _, _ = Compiled(surrogate, tmp_path).generate(condition, event, 8, 0)
    assert code == 0
    tolerance = Package.load(package).manifest["tolerance"]
    for found in (in_cpp, in_c):
        beyond = np.abs(found - in_python) > tolerance["relative"] * (np.array(tolerance["scale"]) + np.abs(in_python))
        assert beyond.any(axis=1).mean() <= tolerance["rows_beyond"]


def test_bad_packages_and_tables_get_one_sentence(host, tmp_path):
    good = write_package(tmp_path / "toy.onnx")
    content = good.read_bytes()
    bad = tmp_path / "bad.onnx"
    edited = content.replace(b"toy", b"boy", 1)
    plain = onnx.load(str(good))
    del plain.metadata_props[:]
    newer = write_package(tmp_path / "newer.onnx", version=2).read_bytes()
    for bytes_given, sentence in (
        (content[: len(content) // 2], "this is not an ONNX file, or it is damaged"),
        (edited, "was changed after it was written"),
        (plain.SerializeToString(), "this is not a Parhelion package"),
        (newer, "its manifest is of a newer version; build this host anew"),
    ):
        bad.write_bytes(bytes_given)
        done = ask(host, bad, "--verify")
        assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
        assert sentence in done.stderr
    out = tmp_path / "out.csv"
    for header, row, sentence in (
        ("event_id,P,slope[0],slope[1]", "0,50,0,0", "has no column pid, which the package needs"),
        ("pid,P,slope[0],slope[1]", "pi,50,zero,0", "row 0, slope[0]: 'zero' is not a number"),
        ("pid,P,slope[0],slope[1]", "pi,50,0", "row 0: expected 4 cells, got 3"),
        ("event_id,pid,P,slope[0],slope[1]", "-1,pi,50,0,0", "event_id: -1 is not a whole number"),
    ):
        given = write_rows(tmp_path / "in.csv", [row], header)
        done = ask(host, good, "--input", given, "--output", out)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
        assert sentence in done.stderr
    assert ask(host, tmp_path / "none.onnx", "--verify").stderr.endswith("none.onnx: cannot be read\n")
    assert "no such option" in ask(host, good, "--sed", 1).stderr
    assert not out.exists()
    assert not list(tmp_path.glob("*.partial"))
