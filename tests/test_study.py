from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import parhelion
from parhelion import io
from parhelion import study as study_module
from parhelion.deploy import Package, generate
from parhelion.errors import ConfigError, DataError, Interrupted, ParhelionError, WriteError
from parhelion.study import Study, StudyRun
from study_toys import CommandLine, change, columns, partial_files, root_file


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root_file(tmp_path / "toy.root", columns())
    (tmp_path / "tiny.yaml").write_text(change())
    return tmp_path


@pytest.fixture
def no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """The report is drawn by its own tests and by one of these; drawing takes most of the time."""
    monkeypatch.setattr(study_module, "write_report", lambda path, content: Path(path).write_text("report"))


def _rewrite(folder: Path, *pairs: tuple[str, str]) -> Path:
    path = folder / "changed.yaml"
    path.write_text(change(*pairs))
    return path


def test_a_run_leaves_everything_in_its_folder(folder: Path) -> None:
    said: list[str] = []
    done = Study.load(folder / "tiny.yaml").run(folder / "out", say=said.append)
    out = folder / "out"
    assert done.passed
    for name in ("report.html", "surrogate.safetensors", "generated.root", "verdict.json", "run.json", "study.yaml"):
        assert (out / name).stat().st_size > 0
    assert sorted(p.name for p in (out / "data").iterdir()) == ["test.h5", "train.h5", "validation.h5"]
    verdict = json.loads((out / "verdict.json").read_text())
    assert verdict["passed"] is True
    assert verdict["surrogate"]["outcomes"][0]["metric"] == "structure"
    assert "<svg" in (out / "report.html").read_text()
    assert (out / "study.yaml").read_text() == (folder / "tiny.yaml").read_text()
    # The parts are the file, cut by a hash.
    parts = [io.read(out / "data" / f"{p}.h5") for p in ("train", "validation", "test")]
    assert sum(map(len, parts)) == 3000
    assert len(np.unique(np.concatenate([p.event_id for p in parts]))) == 3000
    generated = io.read(out / "generated.root")
    assert np.array_equal(np.sort(generated.event_id), np.sort(parts[2].event_id))
    assert io.provenance(out / "generated.root")["seed"] == 3
    assert said[0] == "data ..."
    assert not partial_files(folder)


@pytest.mark.usefixtures("no_figures")
def test_a_run_exports_its_package(folder: Path) -> None:
    text = (folder / "tiny.yaml").read_text() + "\npackage: {rows: 200, licence: CC0-1.0}\n"
    (folder / "packed.yaml").write_text(text)
    Study.load(folder / "packed.yaml").run(folder / "out")
    package = Package.load(folder / "out" / "packed.onnx")
    package.verify()
    assert package.manifest["verdict"]["status"] == "pass"
    assert package.manifest["licence"] == "CC0-1.0"
    assert set(package.manifest["data"]) == {"train", "validation", "test"}
    test = io.read(folder / "out" / "data" / "test.h5")
    again = generate(package, test, seed=3, outside="flag")
    before = io.read(folder / "out" / "generated.root")
    np.testing.assert_allclose(again.response, before.response, rtol=1e-3, atol=1e-3)


@pytest.mark.usefixtures("no_figures")
def test_the_same_seed_gives_the_same_responses_and_resuming_repeats_nothing(folder: Path) -> None:
    study = Study.load(folder / "tiny.yaml")
    study.run(folder / "one")
    study.run(folder / "two")
    one, two = (io.read(folder / name / "generated.root") for name in ("one", "two"))
    assert np.array_equal(one.response, two.response)
    before = {p: p.stat().st_mtime_ns for p in (folder / "one" / "data").iterdir()}
    said: list[str] = []
    study.run(folder / "one", resume=True, say=said.append)
    assert {"data: done before", "training: done before"} <= set(said)
    assert {p: p.stat().st_mtime_ns for p in before} == before
    assert np.array_equal(io.read(folder / "one" / "generated.root").response, one.response)


@pytest.mark.usefixtures("no_figures")
def test_a_folder_with_a_run_is_safe(folder: Path) -> None:
    study = Study.load(folder / "tiny.yaml")
    study.run(folder / "out")
    with pytest.raises(ConfigError, match="holds a run already; go on with --resume, or choose another"):
        study.run(folder / "out")
    other = Study.load(_rewrite(folder, ("width: 16", "width: 17")))
    with pytest.raises(ConfigError, match="with other data, surrogate, training or seed"):
        other.run(folder / "out", resume=True)
    # Other requirements are judged without training again.
    stricter = Study.load(_rewrite(folder, ("max: 2", "max: -1")))
    said: list[str] = []
    assert not stricter.run(folder / "out", resume=True, say=said.append).passed
    assert "training: done before" in said
    assert json.loads((folder / "out" / "verdict.json").read_text())["passed"] is False
    assert "max: -1" in (folder / "out" / "study.yaml").read_text()


def test_folders_that_cannot_take_a_run(folder: Path) -> None:
    study = Study.load(folder / "tiny.yaml")
    with pytest.raises(ConfigError, match="is not empty and holds no run"):
        study.run(folder)
    with pytest.raises(ConfigError, match="is no folder for a run"):
        study.run(folder / "toy.root")
    for record in ("{", "[]", "{}", '{"phases": 1, "fingerprint": "x"}'):
        (folder / "broken").mkdir(exist_ok=True)
        (folder / "broken" / "run.json").write_text(record)
        with pytest.raises(ConfigError, match=r"run\.json: is damaged"):
            study.run(folder / "broken", resume=True)


# --------------------------------------------------------------------------- bad input: nothing is left behind
def _nan(d: dict[str, np.ndarray]) -> None:
    d["a"][77] = np.nan


def _negative(d: dict[str, np.ndarray]) -> None:
    d["w"] = -np.abs(d["w"])


def _empty(d: dict[str, np.ndarray]) -> None:
    d.update({k: v[:0] for k, v in d.items()})


def _few(d: dict[str, np.ndarray]) -> None:
    d.update({k: v[:5] for k, v in d.items()})


def _kaon_only(d: dict[str, np.ndarray]) -> None:
    d["pid"][5] = 2212


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda d: d.pop("a"), "toy.root: column a is missing; the columns are P, b, mass, pid, w"),
        (lambda d: d.pop("w"), "toy.root: column w is missing"),
        (_nan, "toy.root: column a (field a), row 77: NaN or infinity"),
        (_negative, "toy.root: the sum of weights is -"),
        (_empty, "toy.root: there are no rows in the file"),
        (_few, "part of the sample has no rows; take more rows"),
        (_kaon_only, "toy.root: column pid (field pid), row 5: 2212 is not one of 211, 321"),
    ],
)
def test_bad_data_stop_the_run_before_it_leaves_anything(
    tmp_path: Path, spoil: Callable[[dict[str, np.ndarray]], object], message: str
) -> None:
    data = columns()
    spoil(data)
    root_file(tmp_path / "toy.root", data)
    (tmp_path / "tiny.yaml").write_text(change())
    with pytest.raises(DataError) as caught:
        Study.load(tmp_path / "tiny.yaml").run(tmp_path / "out")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        ([("files: toy.root", "files: nothere.root")], "nothere.root: no such file"),
        ([("files: toy.root", "files: nothere*.root")], "no file fits this pattern"),
        ([("    weight: w", "    weight: w\n    tree: Nope")], "there is no tree Nope; there are DecayTree"),
        ([("    weight: w", "    weight: w\n    selection: P > 1e9")], "the selection keeps none of 3000 rows"),
        ([("    weight: w", "    weight: w\n    selection: Q > 1")], "toy.root has no column Q"),
        (
            [
                (
                    "    weight: w",
                    "    weight: w\n  test:\n    files: toy*.root\n    condition: {P: {unit: MeV}}\n"
                    "    response: {a: , b: }",
                )
            ],
            "the condition fields of the test sample are P [MeV]; expected those of the training sample, P [GeV], pid",
        ),
    ],
)
def test_what_files_and_study_disagree_on_stops_the_run_as_well(
    folder: Path, pairs: list[tuple[str, str]], message: str
) -> None:
    with pytest.raises(ParhelionError) as caught:
        Study.load(_rewrite(folder, *pairs)).run(folder / "out")
    assert message in str(caught.value)
    assert not (folder / "out").exists()


def test_damaged_files(folder: Path) -> None:
    whole = (folder / "toy.root").read_bytes()
    for content, message in ((b"", r"the file is empty \(0 bytes\)"), (whole[: len(whole) // 2], "truncated, corrupt")):
        (folder / "toy.root").write_bytes(content)
        with pytest.raises(DataError, match=message):
            Study.load(folder / "tiny.yaml").run(folder / "out")
        assert not (folder / "out").exists()


def test_files_without_declared_fields_are_checked_against_what_they_say(folder: Path, toy) -> None:
    io.write(toy.sample(300), folder / "ours.h5")
    text = change().split("  train:")[0] + "  train: {files: ours.h5}\n" + change()[change().index("surrogate:") :]
    (folder / "s.yaml").write_text(text.replace("- histograms", "- {metric: histograms, fields: [a, q]}"))
    with pytest.raises(ConfigError, match=r"s\.yaml, line 14: metrics\.0\.fields: there is no field q"):
        Study.load(folder / "s.yaml").run(folder / "out")
    assert not (folder / "out").exists()


def test_a_full_disk_leaves_nothing_half_written(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object, **options: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("parhelion.io.hdf5.Hdf5Writer.append", full)
    with pytest.raises(WriteError, match=r"cannot be written \(No space left on device\); free space"):
        Study.load(folder / "tiny.yaml").run(folder / "out")
    assert not (folder / "out").exists()


# --------------------------------------------------------------------------- interrupts
@pytest.mark.usefixtures("no_figures")
@pytest.mark.parametrize("where", ["make_samples", "fit", "generate", "evaluate_observed", "write_report"])
def test_an_interrupt_in_any_phase_can_be_resumed(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], where: str
) -> None:
    study = Study.load(folder / "tiny.yaml")
    study.run(folder / "whole")
    run = CommandLine(monkeypatch, capsys)

    def interrupt(*args: object, **options: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(study_module, where, interrupt)
        code, _, err = run("run", folder / "tiny.yaml", "-o", folder / "out", "-q")
    assert code == 130
    assert err.count("\n") == 1
    assert "interrupted" in err
    assert not partial_files(folder)
    code, _, _ = run("run", folder / "tiny.yaml", "-o", folder / "out", "-q", "--resume")
    assert code == 0
    one, two = (io.read(folder / name / "generated.root") for name in ("whole", "out"))
    assert np.array_equal(one.response, two.response)


@pytest.mark.usefixtures("no_figures")
def test_an_interrupt_while_samples_are_written(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from parhelion.io.hdf5 import Hdf5Writer

    append, calls = Hdf5Writer.append, []

    def interrupt(self: Hdf5Writer, piece: dict[str, np.ndarray]) -> None:
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        append(self, piece)

    study = Study.load(folder / "tiny.yaml")
    with monkeypatch.context() as patch:
        patch.setattr(Hdf5Writer, "append", interrupt)
        with pytest.raises(KeyboardInterrupt):
            study.run(folder / "out")
    assert not partial_files(folder)
    assert study.run(folder / "out", resume=True).passed
    assert not (folder / "out" / "data" / "raw.h5").exists()


@pytest.mark.usefixtures("no_figures")
def test_an_interrupt_of_training_names_the_checkpoint(folder: Path) -> None:
    import signal

    from parhelion.training.state import TrainingState

    study = Study.load(folder / "tiny.yaml")
    advance, steps = TrainingState.advance, []

    def signalled(self: TrainingState, *args: object) -> None:
        advance(self, *args)
        steps.append(1)
        if len(steps) == 7:
            signal.raise_signal(signal.SIGINT)

    whole = study.run(folder / "whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TrainingState, "advance", signalled)
        with pytest.raises(
            Interrupted, match=r"after step 7; .*last\.safetensors is complete: run again with --resume"
        ):
            study.run(folder / "out")
        resumed: StudyRun = study.run(folder / "out", resume=True)
    assert len(steps) == 20
    one, two = (io.read(r.folder / "generated.root") for r in (whole, resumed))
    assert np.array_equal(one.response, two.response)


# --------------------------------------------------------------------------- sPlot, several files, Python
_SPLOT = (
    "    weight: w\n",
    "    extra: {mass: {unit: GeV}}\n  splot:\n    mass: mass\n    by: pid\n    models:\n"
    "      pi: {window: [1.8, 1.93], signal: gaussian, background: {shape: chebyshev, degree: 1}}\n"
    "      K: {window: [1.8, 1.93], signal: gaussian, background: {shape: chebyshev, degree: 1}}\n",
)


@pytest.mark.usefixtures("no_figures")
def test_mass_fits_weight_the_training_sample(folder: Path) -> None:
    said: list[str] = []
    Study.load(_rewrite(folder, _SPLOT)).run(folder / "out", say=said.append)
    fits = json.loads((folder / "out" / "data" / "mass_fits.json").read_text())
    assert sorted(fits) == ["K", "pi"]
    parts = [io.read(folder / "out" / "data" / f"{p}.h5") for p in ("train", "validation", "test")]
    total = sum(p.weight.sum() for p in parts)
    assert total == pytest.approx(sum(f["yields"]["signal"] for f in fits.values()), rel=1e-3)
    assert any((p.weight < 0).any() for p in parts)
    assert [s.split(":")[0] for s in said if s.startswith("mass fit")] == ["mass fit pi", "mass fit K"]
    assert not [s for s in said if s.startswith("warning")]


@pytest.mark.usefixtures("no_figures")
def test_poor_fits_and_responses_that_follow_the_mass_are_said(folder: Path) -> None:
    g = np.random.default_rng(1)
    data = columns(12_000)
    # A second peak that the model does not have, and a response that follows the mass within the background.
    extra = np.arange(12_000) % 10 == 8
    data["mass"][extra] = g.normal(1.82, 0.002, extra.sum())
    data["a"] = np.where(np.arange(12_000) % 10 >= 6, 50 * (data["mass"] - 1.86), data["a"])
    root_file(folder / "toy.root", data)
    said: list[str] = []
    Study.load(_rewrite(folder, _SPLOT)).run(folder / "out", say=said.append)
    warnings = [s for s in said if s.startswith("warning: ")]
    assert any("mass fit pi does not describe the spectrum" in s and "sWeights are biased" in s for s in warnings)
    assert any("pi: a depends on the mass" in s for s in warnings)


def test_a_file_without_the_mass(folder: Path) -> None:
    data = columns()
    del data["mass"]
    root_file(folder / "toy.root", data)
    with pytest.raises(DataError, match=r"toy\.root: column mass is missing; the columns are"):
        Study.load(_rewrite(folder, _SPLOT)).run(folder / "out")
    with pytest.raises(ConfigError, match=r"data\.splot\.mass: there is no field mass"):
        Study.load(_rewrite(folder, (_SPLOT[0], _SPLOT[1].replace("    extra: {mass: {unit: GeV}}\n", ""))))


@pytest.mark.usefixtures("no_figures")
def test_several_files_and_patterns_beside_the_study(tmp_path: Path) -> None:
    place = tmp_path / "a [folder]"
    place.mkdir()
    for number in (1, 2):
        root_file(place / f"toy{number}.root", columns(1500, seed=number))
    (place / "tiny.yaml").write_text(change(("files: toy.root", "files: [toy1.root, 'toy[2-9].root']")))
    Study.load(place / "tiny.yaml").run(tmp_path / "out")
    parts = [io.read(tmp_path / "out" / "data" / f"{p}.h5") for p in ("train", "validation", "test")]
    assert sum(map(len, parts)) == 3000


def test_the_parts_alone_in_python(folder: Path) -> None:
    study = parhelion.Study.load(folder / "tiny.yaml")
    sample = parhelion.read(folder / "toy.root", study.config.data.train.layout())
    from parhelion.surrogates import SURROGATES

    surrogate = SURROGATES[study.loaded.family](sample.schema, study.loaded.surrogate)
    result = parhelion.fit(surrogate, sample, config=study.config.training)
    assert result.steps == 20
    generated = parhelion.generate(surrogate, sample, seed=1)
    assert len(generated) == 3000
    surrogate.save(folder / "s.safetensors")
    loaded = parhelion.load(folder / "s.safetensors")
    assert np.array_equal(parhelion.generate(loaded, sample, seed=1).response, generated.response)
    assert set(parhelion.__all__) <= {*dir(parhelion), *parhelion._HOME}
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        parhelion.nothing  # noqa: B018
