"""The report is one file, says what it must, and is not hurt by what users write."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
import report_toys as toys

from parhelion.errors import WriteError
from parhelion.evaluation import (
    AucMapOptions,
    AucPair,
    ClassifierOptions,
    CorrelationOptions,
    Cut,
    EfficiencyOptions,
    HistogramOptions,
    Requirement,
    StructureOptions,
    Verdict,
    evaluate,
    judge,
)
from parhelion.report import ReportContent, SampleEntry, render_report, save_figures, write_report
from parhelion.report.words import explain, headline
from parhelion.sample import Field, Sample, Schema

VOID = {"meta", "br", "img", "link", "input", "hr"}


class Page(HTMLParser):
    """Collects text, attributes and ids, and checks that tags close in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.stack: list[str] = []
        self.words: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)
        self.close()
        assert self.stack == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.stack.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.stack.pop() == tag

    def handle_data(self, data):
        if "style" not in self.stack:
            self.words.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.words))


@pytest.fixture
def small() -> ReportContent:
    """A content that renders fast."""
    results = [toys.structure()]
    verdict = judge(results, [Requirement("structure", quantity="chi2_ndf", max=2.0)])
    return ReportContent(title="small", verdict=verdict, results=results)


@pytest.fixture(scope="module")
def full():
    """A report with every kind of figure, rendered once."""
    content = toys.content(toys.results())
    return content, render_report(content)


@pytest.mark.slow
def test_report_of_five_responses_and_species_is_small():
    text = render_report(toys.content(toys.results(toys.FIELDS, toys.SPECIES, (*[("K", "pi")] * 3,), (0.0, 4.0))))
    assert text.count("<img ") == len(toys.FIELDS)
    assert len(text.encode()) < 5e6


def test_report_is_one_well_formed_file(full):
    _, text = full
    page = Page(text)
    loaded = [
        value
        for _, attributes in page.tags
        for name, value in attributes.items()
        if name in {"src", "href", "xlink:href", "data", "poster", "srcset", "action"} and value
    ]
    assert loaded
    assert all(value.startswith(("#", "data:")) for value in loaded)
    css = "".join(re.findall(r"<style.*?</style>", text, flags=re.DOTALL))
    assert "@import" not in css
    assert "url(" not in css.replace("url(#", "")
    assert not {tag for tag, _ in page.tags} & {"script", "link", "iframe", "object", "embed"}


def test_ids_are_unique_and_every_reference_has_its_target(full):
    page = Page(full[1])
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    wanted = {
        (attributes.get("xlink:href") or attributes.get("href") or "")[1:]
        for _, attributes in page.tags
        if (attributes.get("xlink:href") or attributes.get("href") or "").startswith("#")
    } | set(re.findall(r"url\(#([^)]+)\)", full[1]))
    assert wanted <= set(ids)


def test_verdict_comes_first_with_every_requirement(full):
    content, text = full
    page = Page(text)
    position = [page.text.index(part) for part in ("FAIL", "What was trained on what", "Classifier two-sample test")]
    assert position == sorted(position)
    rows = re.findall(r'<td class="(pass|fail)">(PASS|FAIL)</td>\s*<td>(.*?)</td>\s*<td class="on">(.*?)</td>', text)
    expected = [
        ("pass" if o.passed else "fail", "PASS" if o.passed else "FAIL", o.requirement)
        for o in content.verdict.outcomes
    ]
    assert len(rows) == len(expected) > 0
    for (css, word, metric, on), (want_css, want_word, requirement) in zip(rows, expected, strict=True):
        assert (css, word) == (want_css, want_word)
        assert metric == f"{requirement.metric} ({requirement.quantity})"
        assert on.replace("&gt;", ">") == requirement.on
    assert "0.5031 ± 0.0013" in page.text
    assert "≤ 0.507" in page.text


def test_report_says_what_was_trained_on_what(full):
    text = Page(full[1]).text
    for part in ("254,321 parameters", "rich-calibration.root", "118,000", "18.0 %", "3 min 8 s", "12,000 steps"):
        assert part in text
    for part in ("parhelion run rich --seed 7", "numpy 2.4.6", "385,000 / s", "ema.decay", "12 rows lie outside"):
        assert part in text


def test_every_figure_has_a_caption_with_event_numbers(full):
    captions = re.findall(r"<figcaption>(.*?)</figcaption>", full[1], flags=re.DOTALL)
    assert len(captions) == full[1].count("<figure ") == 7
    assert sum("200,000 reference rows" in caption for caption in captions) == 6


def test_user_strings_are_escaped(small):
    nasty = '<script>alert("x")</script>'
    content = replace(
        small,
        title=nasty,
        description=nasty,
        warnings=[nasty],
        command=nasty,
        label=nasty,
        samples=[SampleEntry("test", nasty, 1, 1.0, 0.0)],
        results=[replace(toys.structure(), on=nasty)],
        verdict=None,
    )
    text = render_report(content)
    assert "<script" not in text
    assert "&lt;script&gt;" in text
    Page(text)


def test_equal_content_gives_equal_text(small):
    assert render_report(small) == render_report(small)


def test_a_report_without_anything_has_no_verdict():
    text = Page(render_report(ReportContent(title="empty"))).text
    assert "NO VERDICT" in text
    assert "No requirements were set" in text
    assert "NO VERDICT" in Page(render_report(ReportContent(title="none", verdict=Verdict(())))).text


def test_old_report_stays_when_rendering_fails(small, tmp_path):
    path = tmp_path / "report.html"
    write_report(path, small)
    before = path.read_bytes()
    broken = replace(toys.structure(), details={"patterns": ["none"]})
    with pytest.raises(KeyError):
        write_report(path, replace(small, results=[broken]))
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]


def test_unwritable_folder_is_one_sentence(small, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(WriteError, match="cannot be written"):
        write_report(tmp_path / "file" / "report.html", small)


def test_figures_are_saved_for_papers(small, tmp_path):
    written = save_figures(tmp_path / "figures", small)
    assert [p.name for p in written] == ["structure_exact_equalities.png", "structure_exact_equalities.pdf"]
    assert written[0].read_bytes().startswith(b"\x89PNG")
    assert written[1].read_bytes().startswith(b"%PDF")


def outcome(**changes):
    plain = {
        "metric": "auc_map", "quantity": "max", "on": "K-pi", "value": 0.006, "null": 0.0055, "null_error": 0.001,
        "min": None, "max": 0.005, "passed": False, "sentence": "said by the outcome",
    }  # fmt: skip
    return {**plain, **changes}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "a larger test sample is needed"),
        ({"max": 0.01, "passed": True}, "As for reference against reference."),
        ({"value": 0.0105}, "5.0 standard deviations above reference against reference"),
        ({"value": None}, "could not be computed"),
        ({"metric": "unknown"}, "said by the outcome"),
    ],
)
def test_outcomes_in_plain_words(changes, expected):
    assert expected in explain(outcome(**changes))


def test_headline_counts_and_names_failures():
    passed = outcome(passed=True)
    assert headline({"passed": True, "outcomes": [passed, passed]}) == "All 2 requirements are met."
    assert headline({"passed": True, "outcomes": [passed]}) == "The one requirement is met."
    failed = {"passed": False, "outcomes": [passed, outcome()]}
    assert headline(failed) == "1 of 2 requirements is not met: auc_map (max) on K-pi."
    assert headline({"passed": False, "outcomes": [outcome()] * 5}).endswith("; and 2 more.")


def test_results_of_the_real_metrics_can_be_shown(tmp_path):
    rng = np.random.default_rng(11)
    n = 1_500
    schema = Schema(
        (Field("P", "GeV"), Field("ETA"), Field("Type", kind="category", values=(211, 321), labels=("pi", "K"))),
        (Field("RichDLLk"), Field("RichDLLp")),
    )
    kind = rng.choice([211, 321], n)

    def responses():
        first = rng.normal(np.where(kind == 321, 10.0, -10.0), 12.0)
        tied = rng.random(n) < 0.2
        return {"RichDLLk": first, "RichDLLp": np.where(tied, first, first + rng.normal(0, 5, n))}

    condition = {"P": rng.uniform(3, 100, n), "ETA": rng.uniform(2, 5, n), "Type": kind}
    weight = np.where(rng.random(n) < 0.1, -1.0, 1.0)
    reference, generated = (
        Sample(schema, condition | responses(), weight=weight, event_id=np.arange(n), source=name)
        for name in ("test", "generated")
    )
    results = evaluate(
        reference,
        generated,
        [
            ("histograms", HistogramOptions(by="Type", bins=10, replicas=20)),
            ("histograms", HistogramOptions(fields=("RichDLLk",), bins=8, binning="quantile", replicas=20)),
            (
                "auc_map",
                AucMapOptions((AucPair("K", "pi", "RichDLLk"),), "Type", "P", "ETA", min_tracks=20, replicas=20),
            ),
            ("efficiency", EfficiencyOptions((Cut("RichDLLk", 0.0),), "Type", "P", replicas=20)),
            ("classifier", ClassifierOptions(folds=2, trees=5)),
            ("structure", StructureOptions(replicas=20)),
            ("correlation", CorrelationOptions(replicas=20)),
        ],
        seed=3,
    )
    verdict = judge(results, [Requirement("classifier", max=0.6), Requirement("efficiency", max=0.5)])
    content = ReportContent("toy", verdict=verdict, results=results, samples=[SampleEntry.of("test", reference, 11)])
    path = tmp_path / "report.html"
    write_report(path, content)
    text = Page(path.read_text()).text
    for section in (
        "Classifier",
        "AUC-difference maps",
        "Efficiency",
        "Distributions",
        "Exact equalities",
        "Correlations",
    ):
        assert section in text
