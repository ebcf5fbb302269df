from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import uproot

from parhelion import io
from parhelion import study as study_module
from parhelion.surrogates import load
from study_toys import CommandLine, change, columns, partial_files, root_file

_COMMANDS = ("run", "simulate", "splot", "fit", "validate", "generate", "inspect", "list", "init")


@pytest.fixture
def parhelion(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    monkeypatch.setattr(study_module, "write_report", lambda path, content: Path(path).write_text("report"))
    return CommandLine(monkeypatch, capsys)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root_file(tmp_path / "toy.root", columns())
    (tmp_path / "tiny.yaml").write_text(change())
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def surrogate(folder: Path, parhelion: CommandLine) -> Path:
    assert parhelion("fit", "tiny.yaml", "toy.root", "-o", "s.safetensors", "-q")[0] == 0
    return folder / "s.safetensors"


def _gev(name: str, n: int = 3000, **more: np.ndarray) -> Path:
    data = columns(n)
    return root_file(Path(name), {**data, "P": data["P"] / 1000, **more})


# --------------------------------------------------------------------------- help, list, mistakes in the words
def test_help_names_every_command(parhelion: CommandLine) -> None:
    code, out, _ = parhelion("--help")
    assert code == 0
    for command in _COMMANDS:
        assert f"  {command} " in out
        code, text, _ = parhelion(command, *(["rich"] if command == "simulate" else []), "--help")
        assert code == 0
        assert "--quiet" in text
        assert "--json" in text
    assert parhelion("--version")[1].count(".") == 2


def test_list(parhelion: CommandLine) -> None:
    code, out, _ = parhelion("list")
    assert code == 0
    for word in ("rich ", "matching", "flow", "classifier", "structure", "simulators: ", "log-normal"):
        assert word in out
    found = json.loads(parhelion("list", "--json")[1])
    assert set(found) == {"studies", "surrogates", "metrics", "simulators"}
    assert "student" not in found["surrogates"]  # it is distilled, not chosen
    assert parhelion("list", "--quiet")[1] == ""


@pytest.mark.parametrize(
    "words",
    [
        ("nonsense",),
        ("run",),
        ("run", "rich", "--nonsense"),
        ("simulate", "rich", "-n", "0", "-o", "x.root"),
        ("simulate", "rich", "-n", "many", "-o", "x.root"),
        ("generate", "s.safetensors", "x.root", "-o", "y.root", "--seed", "-1"),
    ],
)
def test_wrong_words_are_exit_code_2(parhelion: CommandLine, words: tuple[str, ...]) -> None:
    code, out, err = parhelion(*words)
    assert (code, out) == (2, "")
    assert "Error: " in err


def test_an_error_of_the_library_is_no_verdict(parhelion: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("parhelion.config.shipped_studies", lambda: 1 / 0)
    code, _, err = parhelion("list")
    assert code == 70
    assert "ZeroDivisionError" in err
    assert "please report it" in err


# --------------------------------------------------------------------------- run
def test_run_prints_phases_and_verdict(folder: Path, parhelion: CommandLine) -> None:
    code, out, err = parhelion("run", "tiny.yaml")
    assert code == 0
    assert err == ""
    assert "surrogate: PASS" in out
    assert "report: runs/tiny/report.html" in out
    code, out, err = parhelion("run", "tiny.yaml", "--resume", "--json")
    assert json.loads(out)["passed"] is True
    assert "training: done before" in err
    assert parhelion("run", "tiny.yaml", "--resume", "--quiet") == (0, "", "")
    assert "holds a run already" in parhelion.refuse("run", "tiny.yaml", "--quiet")


def test_a_failed_verdict_is_exit_code_1(folder: Path, parhelion: CommandLine) -> None:
    Path("strict.yaml").write_text(change(("max: 2", "max: -1")))
    code, out, _ = parhelion("run", "strict.yaml", "-o", "out")
    assert code == 1
    assert "fails: differing is" in out
    assert "surrogate: FAIL" in out
    assert json.loads(Path("out/verdict.json").read_text())["passed"] is False
    code, out, _ = parhelion("run", "strict.yaml", "-o", "out", "--resume", "--json")
    assert code == 1
    assert json.loads(out)["passed"] is False


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (change(("steps: 20", "stepz: 20")), "x.yaml, line 20: training.stepz: this key is unknown here"),
        (change(("- structure", "- structur")), "x.yaml, line 24: metrics.1: 'structur' is no metric"),
        (change(("batch_size: 256", "batch_size: many")), "x.yaml, line 21: training.batch_size"),
        (change(("      a: {}", "      zz: {}")), "toy.root: column zz is missing; the columns are P, a, b"),
        (change(("file_unit: MeV", "file_unit: cm")), "x.yaml, line 8: data.train.condition.P: field P: unit 'cm'"),
        ("- a list\n", "x.yaml, line 1: expected keys with values"),
        ("a: b: c\n", "x.yaml, line 1: this is not valid YAML"),
    ],
)
def test_a_wrong_study_is_one_sentence(folder: Path, parhelion: CommandLine, text: str, message: str) -> None:
    Path("x.yaml").write_text(text)
    assert message in parhelion.refuse("run", "x.yaml", "-o", "out", "-q")
    assert not Path("out").exists()


def test_studies_that_are_not_there(folder: Path, parhelion: CommandLine) -> None:
    assert "there is no such study; give one of" in parhelion.refuse("run", "nothere")
    assert "nothere.yaml: cannot be read" in parhelion.refuse("run", "nothere.yaml")


# --------------------------------------------------------------------------- fit
def test_fit_holds_rows_out_and_can_be_resumed(folder: Path, parhelion: CommandLine) -> None:
    code, out, _ = parhelion("fit", "tiny.yaml", "toy.root", "-o", "s.safetensors", "--json")
    assert code == 0
    assert json.loads(out)["steps"] == 20
    assert "s.safetensors: exists already" in parhelion.refuse("fit", "tiny.yaml", "toy.root", "-o", "s.safetensors")
    code, _, _ = parhelion("fit", "tiny.yaml", "toy.root", "-o", "s.safetensors", "--resume")
    assert code == 0
    Path("s.safetensors").unlink()
    message = parhelion.refuse("fit", "tiny.yaml", "toy.root", "-o", "s.safetensors")
    assert "s.training: holds an earlier training; go on with --resume" in message
    assert parhelion("fit", "tiny.yaml", "toy.root", "-o", "s.safetensors", "--overwrite", "-q")[0] == 0
    assert Path("s.safetensors").exists()
    assert "ends in .safetensors" in parhelion.refuse("fit", "tiny.yaml", "toy.root", "-o", "s.pt")


def test_fit_begins_with_another_surrogate(folder: Path, parhelion: CommandLine) -> None:
    words = ("fit", "tiny.yaml", "toy.root", "-q", "-o")
    assert parhelion(*words, "first.safetensors")[0] == 0
    assert parhelion(*words, "second.safetensors", "--start", "first.safetensors")[0] == 0
    provenance = load("second.safetensors").provenance
    assert provenance["start"]["file"] == "first.safetensors"
    assert provenance["start"]["training"]["study"] == provenance["study"]
    assert "there is no surrogate nothere" in parhelion.refuse(*words, "third.safetensors", "--start", "nothere")


def test_an_interrupted_fit_is_resumed_to_the_identical_result(folder: Path, parhelion: CommandLine) -> None:
    from parhelion.training.state import TrainingState

    words = ("fit", "tiny.yaml", "toy.root", "-q", "-o")
    assert parhelion(*words, "whole.safetensors")[0] == 0
    advance, steps = TrainingState.advance, []

    def signalled(self: TrainingState, *args: object) -> None:
        advance(self, *args)
        steps.append(1)
        if len(steps) == 7:
            signal.raise_signal(signal.SIGTERM)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TrainingState, "advance", signalled)
        code, _, err = parhelion(*words, "cut.safetensors")
    assert code == 130
    assert "interrupted after step 7" in err
    assert not Path("cut.safetensors").exists()
    assert parhelion(*words, "cut.safetensors", "--resume")[0] == 0
    for name in ("whole", "cut"):
        assert parhelion("generate", f"{name}.safetensors", _gev("g.root"), "-o", f"{name}.root", "-q")[0] == 0
    assert np.array_equal(io.read("whole.root").response, io.read("cut.root").response)


def test_fit_on_a_runs_own_training_part(folder: Path, parhelion: CommandLine) -> None:
    # Its rows were chosen by a hash; the validation rows of `fit` must come from another one.
    assert parhelion("run", "tiny.yaml", "-o", "out", "-q")[0] == 0
    code, out, _ = parhelion("fit", "tiny.yaml", "out/data/train.h5", "-o", "s.safetensors")
    assert code == 0
    assert "training sample: 1,9" in out


def test_fit_refuses_weights_without_a_positive_sum(folder: Path, parhelion: CommandLine) -> None:
    data = columns()
    root_file(folder / "neg.root", {**data, "w": -np.abs(data["w"])})
    message = parhelion.refuse("fit", "tiny.yaml", "neg.root", "-q", "-o", "s.safetensors")
    assert "neg.root: the sum of weights is -" in message
    assert not Path("s.safetensors").exists()


# --------------------------------------------------------------------------- generate
def test_generate_for_a_file_of_another_program(surrogate: Path, parhelion: CommandLine) -> None:
    _gev("x.root", runNumber=np.arange(3000) // 7)
    code, out, _ = parhelion("generate", surrogate, "x.root", "-o", "y.root")
    assert (code, out) == (
        0, "0 of 3,000 rows lie outside the trained domain\ny.root: 3,000 rows; record: y.root.json\n"
    )  # fmt: skip
    with uproot.open("y.root") as file:
        made = file["tracks"].arrays(library="np")
    assert np.array_equal(made["runNumber"], np.arange(3000) // 7)
    assert np.array_equal(made["mass"], columns()["mass"])
    assert made["a"].dtype == np.float32
    assert len(np.unique(made["event_id"])) == 3000
    assert parhelion("generate", surrogate, "x.root", "-o", "z.root", "-q") == (0, "", "")
    assert np.array_equal(io.read("y.root").response, io.read("z.root").response)
    assert parhelion("generate", surrogate, "x.root", "-o", "z.root", "-q", "--overwrite", "--seed", "2")[0] == 0
    assert not np.array_equal(io.read("y.root").response, io.read("z.root").response)
    assert io.provenance("z.root")["seed"] == 2


def test_generate_for_several_files(surrogate: Path, parhelion: CommandLine) -> None:
    for number in (1, 2, 3):
        _gev(f"x{number}.root", 500 + number)
    code, out, _ = parhelion("generate", surrogate, "x1.root", "x[23].root", "-o", "y.h5", "--json")
    assert code == 0
    shown = json.loads(out)
    assert {k: shown[k] for k in ("file", "rows", "seed", "outside")} == {
        "file": "y.h5", "rows": 1506, "seed": 1, "outside": 0
    }  # fmt: skip
    assert json.loads(Path(shown["record"]).read_text())["content_sha256"] == shown["content_sha256"]
    assert len(np.unique(io.read("y.h5").event_id)) == 1506


def test_generate_with_ids_of_ones_own(surrogate: Path, parhelion: CommandLine) -> None:
    run, event = np.arange(3000) // 100, np.arange(3000) % 100
    _gev("x.root", run=run, event=event)
    words = ("generate", surrogate, "x.root", "-q", "--event-id", "run", "--event-id", "event")
    assert parhelion(*words, "-o", "y.h5")[0] == 0
    assert parhelion(*words, "-o", "z.h5", "--selection", "run == 7", "--drop", "all")[0] == 0
    part, whole = io.read("z.h5"), io.read("y.h5")
    assert [f.name for f in part.schema.extra] == []
    rows = np.isin(whole.event_id, part.event_id)
    assert rows.sum() == len(part) == 100
    # The response belongs to the event, whatever else is in the job.
    np.testing.assert_allclose(whole.take(rows).response, part.response, rtol=1e-4, atol=1e-5)
    message = parhelion.refuse("generate", surrogate, "x.root", "-o", "q.h5", "--event-id", "run")
    assert "event id occurs more than once" in message
    assert not Path("q.h5").exists()


def test_rows_outside_the_domain(surrogate: Path, folder: Path, parhelion: CommandLine) -> None:
    message = parhelion.refuse("generate", surrogate, "toy.root", "-o", "y.root")  # P in MeV
    assert "toy.root: 3000 of rows 0 to 2999 lie outside the domain" in message
    assert "GeV; check the column's unit" in message
    assert not Path("y.root").exists()
    data = columns()
    _gev("x.root", P=np.where(np.arange(3000) < 12, 500.0, data["P"] / 1000))
    for policy, word in (("clamp", "domain and were clamped to it"), ("flag", "domain (column outside_domain)")):
        code, out, _ = parhelion("generate", surrogate, "x.root", "-o", f"{policy}.root", "--outside", policy)
        assert code == 0
        assert f"12 of 3,000 rows lie outside the trained {word}" in out
        assert np.flatnonzero(io.read(f"{policy}.root")["outside_domain"]).tolist() == list(range(12))
    assert "expected refuse, clamp or flag" in parhelion.refuse(
        "generate", surrogate, "x.root", "-o", "y.root", "--outside", "maybe"
    )


def test_generate_refuses_what_it_cannot_use(surrogate: Path, parhelion: CommandLine) -> None:
    data = columns(100)
    a_nan = np.where(np.arange(100) == 7, np.nan, 1.0)
    _gev("good.root", 100)
    _gev("nan.root", 100, mass=a_nan)
    root_file(Path("missing.root"), {"P": data["P"]})
    Path("empty.root").touch()
    Path("cut.root").write_bytes(Path("good.root").read_bytes()[:700])
    Path("damaged.safetensors").write_bytes(surrogate.read_bytes()[:1000])
    for words, message in (
        ((surrogate, "nothere.root"), "nothere.root: no such file"),
        ((surrogate, "empty.root"), "the file is empty (0 bytes)"),
        ((surrogate, "cut.root"), "cut.root: cannot be read as a ROOT file"),
        ((surrogate, "missing.root"), "condition pid is missing; the columns are P"),
        ((surrogate, "nan.root"), "column mass (field mass), row 7: NaN or infinity"),
        ((surrogate, "good.root", "good.root"), "given more than once"),
        (("damaged.safetensors", "good.root"), "not a surrogate file, or it is damaged"),
        (("good.root", "good.root"), "not a surrogate file, or it is damaged"),
        (("nothere.safetensors", "good.root"), "there is no such file"),
    ):
        assert message in parhelion.refuse("generate", *words, "-o", "y.root")
        assert not Path("y.root").exists()
    # The way out that the message of a bad row names, and the other one.
    assert parhelion("generate", surrogate, "nan.root", "-o", "y.root", "--selection", "isfinite(mass)")[0] == 0
    assert len(io.read("y.root")) == 99
    assert parhelion("generate", surrogate, "nan.root", "-o", "z.root", "--drop", "mass")[0] == 0
    assert "exists already" in parhelion.refuse("generate", surrogate, "good.root", "-o", "z.root")
    assert "cannot write files with suffix .txt" in parhelion.refuse("generate", surrogate, "good.root", "-o", "z.txt")
    assert not partial_files(Path())


def test_a_full_disk(surrogate: Path, parhelion: CommandLine) -> None:
    import resource

    _gev("x.root", 20_000)
    Path("old.root").write_bytes(b"precious")
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
        for suffix in ("root", "h5", "parquet", "npz"):
            message = parhelion.refuse("generate", surrogate, "x.root", "-o", f"y.{suffix}", "-q", "--outside", "flag")
            assert f"y.{suffix}.parts/part-000000.npz: cannot be written (File too large); free space" in message
        parhelion.refuse("generate", surrogate, "x.root", "-o", "old.root", "-q", "--outside", "flag", "--overwrite")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    assert Path("old.root").read_bytes() == b"precious"
    assert not [p for p in Path().iterdir() if p.name.startswith("y.")]
    assert not partial_files(Path())


# --------------------------------------------------------------------------- validate, inspect, init, splot, simulate
def test_validate(folder: Path, parhelion: CommandLine) -> None:
    assert parhelion("run", "tiny.yaml", "-o", "out", "-q")[0] == 0
    words = ("validate", "tiny.yaml", "--reference", "out/data/test.h5", "--generated", "out/generated.root")
    code, out, _ = parhelion(*words)
    assert code == 0
    assert out.endswith("PASS\n")
    found = json.loads(parhelion(*words, "--json")[1])
    assert found == json.loads(Path("out/verdict.json").read_text())["surrogate"]
    Path("strict.yaml").write_text(change(("max: 2", "max: -1")))
    assert parhelion("validate", "strict.yaml", *words[2:], "-q") == (1, "", "")
    assert "ends in .html or .htm" in parhelion.refuse(*words, "--report", "toy.root")
    assert "nothere.root: no such file" in parhelion.refuse(*words[:-1], "nothere.root")
    # A file of another program is read with the study's fields.
    code, out, _ = parhelion("validate", "tiny.yaml", "--reference", "toy.root", "--generated", "toy.root")
    assert code == 0


def test_validate_leaves_marked_rows_out(surrogate: Path, folder: Path, parhelion: CommandLine) -> None:
    _gev("x.root", P=np.where(np.arange(3000) < 12, 500.0, columns()["P"] / 1000))
    assert parhelion("generate", surrogate, "x.root", "-o", "y.root", "-q", "--outside", "flag")[0] == 0
    reference = io.read("y.root")
    io.write(reference, "r.h5")
    code, out, _ = parhelion("validate", "tiny.yaml", "--reference", "r.h5", "--generated", "y.root")
    assert code == 0
    assert "12 of 3,000 generated rows lie outside the trained domain and are left out" in out


def test_inspect(surrogate: Path, parhelion: CommandLine) -> None:
    code, out, _ = parhelion("inspect", "toy.root")
    assert code == 0
    assert "toy.root: 3,000 rows" in out
    code, out, _ = parhelion("inspect", surrogate, "--json")
    assert json.loads(out)["provenance"]["study"] == "tiny"
    assert parhelion("inspect", "toy.root", "-q") == (0, "", "")
    for name in ("nothere.root", "tiny.yaml", "."):
        parhelion.refuse("inspect", name)


def test_init_writes_a_study_that_runs(folder: Path, parhelion: CommandLine) -> None:
    code, out, _ = parhelion("init", "toy.root")
    assert code == 0
    assert "edit the lines marked CHOOSE, then: parhelion run study.yaml" in out
    assert "study.yaml: exists already" in parhelion.refuse("init", "toy.root")
    text = Path("study.yaml").read_text()
    for old, new in (
        ("  seconds: 200 ", "  steps: 5 "),
        ("width: 192", "width: 8"),
        ("- metric: classifier", "- metric: classifier\n    trees: 3\n    importance: false"),
    ):
        assert old in text
        text = text.replace(old, new)
    Path("study.yaml").write_text(text)
    code, _, err = parhelion("run", "study.yaml", "-q")
    assert code in (0, 1), err
    assert Path("runs/study/verdict.json").exists()
    assert "ends in .yaml or .yml" in parhelion.refuse("init", "toy.root", "-o", "x.txt")
    assert "nothere.root: no such file" in parhelion.refuse("init", "nothere.root", "-o", "x.yaml")
    assert not Path("x.yaml").exists()


def test_init_takes_a_study(folder: Path, parhelion: CommandLine) -> None:
    code, out, _ = parhelion("init", "toy.root", "--study", "rich", "-o", "mine.yaml")
    assert code == 0
    assert "mine.yaml: edit the lines marked CHOOSE, then: parhelion run mine.yaml" in out
    assert parhelion("simulate", "ring", "-n", "20", "-o", "rings.h5", "-q")[0] == 0
    out = parhelion("init", "rings.h5", "--study", "rich", "-o", "rings.yaml")[1]
    assert "rings.yaml: edit the lines marked CHOOSE" in out
    assert parhelion("simulate", "rich", "--calibration", "-n", "20", "-o", "tracks.h5", "-q")[0] == 0
    assert "ready for parhelion run" in parhelion("init", "tracks.h5", "--study", "rich", "-o", "tracks.yaml")[1]
    assert "there is no such study" in parhelion.refuse("init", "toy.root", "--study", "rihc", "-o", "x.yaml")


def test_splot(folder: Path, parhelion: CommandLine) -> None:
    Path("mass.yaml").write_text(
        change(
            (
                "    weight: w\n",
                "    extra: {mass: {unit: GeV}}\n  splot:\n    models:\n"
                "      all: {window: [1.8, 1.93], signal: gaussian, background: exponential}\n",
            )
        )
    )
    code, out, _ = parhelion("splot", "toy.root", "--study", "mass.yaml", "-o", "w.root", "--json")
    assert code == 0
    found = json.loads(out)
    weighted = io.read("w.root")
    assert weighted.weight.sum() == pytest.approx(found["fits"]["all"]["yields"]["signal"], rel=1e-3)
    assert (weighted.weight < 0).any()
    assert "exists already" in parhelion.refuse("splot", "toy.root", "--study", "mass.yaml", "-o", "w.root")
    message = parhelion.refuse("splot", "w.root", "--study", "mass.yaml", "-o", "v.root")
    assert "expected 1; sPlot of rows that have weights already" in message
    assert "has no data.splot section" in parhelion.refuse("splot", "toy.root", "--study", "tiny.yaml", "-o", "v.root")
    data = columns()
    del data["mass"]
    root_file(folder / "nomass.root", data)
    assert "column mass is missing" in parhelion.refuse("splot", "nomass.root", "--study", "mass.yaml", "-o", "v.root")
    assert not Path("v.root").exists()


def test_simulate(tmp_path: Path, parhelion: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("numba")
    monkeypatch.chdir(tmp_path)
    words = ("simulate", "rich", "-n", "60", "--processes", "1", "--seed", "4", "-o")
    code, out, _ = parhelion(*words, "a.root", "--json")
    assert code == 0
    assert json.loads(out)["rows"] == 60
    assert len(io.read("a.root")) == 60
    assert io.provenance("a.root")["seed"] == 4
    assert "a.root: exists already" in parhelion.refuse(*words, "a.root")
    Path("b.root").mkdir()
    assert "b.root: is a folder; give --out the name of a file" in parhelion.refuse(*words, "b.root", "--overwrite")
    assert "simulator 'rack' is unknown; choose one of calogan, camel, " in parhelion.refuse(
        "simulate", "rack", "-n", "9", "-o", "b.root"
    )
    assert parhelion(*words, "b.h5", "--quiet", "--calibration") == (0, "", "")
    assert "mass" in io.read("b.h5").columns


# --------------------------------------------------------------------------- a real process
def _process(*words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import torch; torch.set_num_threads(1); from parhelion.cli import main; main()",
            *words,
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        # A shell that runs tests in the background leaves Ctrl-C ignored for its children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


def test_ctrl_c_of_a_real_run(folder: Path, parhelion: CommandLine) -> None:
    Path("long.yaml").write_text(change(("steps: 20", "seconds: 300")))
    process = _process("run", "long.yaml", "-o", "out")
    assert process.stdout is not None
    while "training sample" not in (line := process.stdout.readline()):
        assert line, process.stderr.read() if process.stderr else ""
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "parhelion: training was interrupted" in err
    assert "Traceback" not in err
    assert not Path("out/surrogate.safetensors").exists()
    assert not partial_files(folder)
