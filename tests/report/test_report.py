"""The report is one file, says what it must, and is not hurt by what users write."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from typing import get_args

import numpy as np
import pytest
import report_toys as toys

from parhelion.errors import WriteError
from parhelion.evaluation import (
    METRICS,
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
from parhelion.evaluation.results.metric import Family
from parhelion.report import ReportContent, SampleEntry, render_report, save_figures, write_report
from parhelion.report import html as report_html
from parhelion.report.families import FAMILIES
from parhelion.report.pages import ORDER, page_of
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
        if not {"style", "script"} & set(self.stack):
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
    assert not {tag for tag, _ in page.tags} & {"iframe", "object", "embed", "base", "form"}
    scripts = [attributes for tag, attributes in page.tags if tag == "script"]
    assert scripts == [{}, {"type": "application/json", "id": "data"}]
    assert [attributes["href"] for tag, attributes in page.tags if tag == "link"] == ["data:,"]


def test_only_the_own_script_may_run_and_nothing_may_load(full):
    policy = next(a["content"] for t, a in Page(full[1]).tags if a.get("http-equiv") == "Content-Security-Policy")
    script = re.search(r"<script>(.*?)</script>", full[1], flags=re.DOTALL)[1]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert not re.search(r"\b(eval|fetch|XMLHttpRequest|import|WebSocket|sendBeacon|innerHTML)\b", script)


def test_ids_are_unique_and_every_reference_has_its_target(full):
    page = Page(full[1])
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    wanted = {
        (attributes.get("xlink:href") or attributes.get("href") or "")[1:]
        for _, attributes in page.tags
        if (attributes.get("xlink:href") or attributes.get("href") or "").startswith("#")
    }
    assert wanted - {"all"} <= set(ids)
    drawn = re.sub("<script.*?</script>", "", full[1], flags=re.DOTALL)
    assert set(re.findall(r"url\(#([^)]+)\)", drawn)) <= set(ids)


def test_verdict_comes_first_with_every_requirement(full):
    content, text = full
    page = Page(text)
    position = [page.text.index(part) for part in ("Verdict", "What was trained on what", "Classifier two-sample test")]
    assert position == sorted(position)
    table = re.search(r'<table class="[^"]*requirements">(.*?)</table>', text, flags=re.DOTALL)[1]
    rows = re.findall(
        r'<span class="pill ([a-z-]+)">([A-Z ]+)</span></td>\s*<td data-label="Metric"><span><a href="#(\w+)">(\w+)'
        r'</a> \((\w+)\)</span></td>\s*<td data-label="On" class="on">(.*?)</td>',
        table,
    )
    assert len(rows) == len(content.verdict.outcomes) > 0
    for (css, word, page_key, metric, quantity, on), outcome in zip(rows, content.verdict.outcomes, strict=True):
        requirement = outcome.requirement
        assert (css, word) == (outcome.status.replace(" ", "-"), outcome.status.upper())
        assert (metric, quantity, html.unescape(on)) == (requirement.metric, requirement.quantity, requirement.on)
        assert page_key == page_of(metric)
    assert "0.5031 ± 0.0013" in page.text
    assert "≤ 0.507" in page.text


def test_report_says_what_was_trained_on_what(full):
    text = Page(full[1]).text
    for part in ("254,321 parameters", "rich-calibration.root", "118,000", "18.0 %", "3 min 8 s", "12,000 steps"):
        assert part in text
    for part in ("parhelion run rich --seed 7", "numpy 2.4.6", "385,000 / s", "ema.decay", "12 rows lie outside"):
        assert part in text


def test_many_requirements_that_are_met_are_folded(small):
    passed, failed = (replace(small.verdict.outcomes[0], status=status) for status in ("pass", "fail"))
    text = render_report(replace(small, verdict=Verdict((*[passed] * 5, failed))))
    page = text[text.index('id="physics"') :]
    before, folded = page.split("<details>", 1)
    assert before.count('<li><span class="pill') == before.count("pill fail") == 1
    folded = folded.split("</details>")[0]
    assert "5 requirements are met" in folded
    assert folded.count("<li>") == 5
    assert "<details>" not in render_report(replace(small, verdict=Verdict((passed,) * 4)))


def test_every_figure_has_a_caption_with_event_numbers(full):
    captions = re.findall(r"<figcaption>(.*?)</figcaption>", full[1], flags=re.DOTALL)
    assert len(captions) == full[1].count("<figure ") == 8
    assert sum("200,000 reference rows" in caption for caption in captions) == 7


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
    assert "&lt;script&gt;" in text
    assert len([tag for tag, _ in Page(text).tags if tag == "script"]) == 2


def test_user_strings_cannot_end_the_data(small):
    nasty = "</script><b>x"
    found = replace(toys.histogram(bins=3), on=nasty, details={**toys.histogram(bins=3).details, "field": nasty})
    text = render_report(replace(small, results=[found], verdict=None))
    data = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, flags=re.DOTALL)[1]
    assert json.loads(data)["binned"][0]["what"] == nasty


def test_each_family_has_its_page_in_order(full):
    page = Page(full[1])
    pages = [a["id"] for tag, a in page.tags if tag == "section"]
    assert pages == ["overview", "physics", "classifiers", "distributions", "training", "numbers", "reproduce"]
    linked = [a["href"][1:] for tag, a in page.tags if tag == "a" and a["href"][1:] in (*pages, "all")]
    assert linked[: len(pages) + 1] == [*pages, "all"]


def test_every_family_has_a_page():
    assert {*get_args(Family), *(page for page, _ in FAMILIES)} <= set(ORDER)
    assert page_of("classifier") == "classifiers"
    assert page_of("no metric") == "other"


@pytest.mark.parametrize(("status", "word"), [("fail", "FAIL"), ("cannot tell", "CANNOT TELL"), ("pass", "PASS")])
def test_a_verdict_has_three_outcomes(small, status, word):
    outcome = replace(small.verdict.outcomes[0], status=status, events_needed=1_234_567 if status != "pass" else None)
    text = Page(render_report(replace(small, results=[], verdict=Verdict((outcome,))))).text
    assert f"Verdict {word} " in text
    assert ("About 1,234,567 test rows of that comparison would decide." in text) == (status == "cannot tell")


def test_usable_sample_size_stands_beside_the_verdict(small, monkeypatch):
    monkeypatch.setattr(report_html, "usable_size_sentence", lambda results: "Up to 12,000 events.")
    text = Page(render_report(replace(small, results=[]))).text
    assert text.index("Verdict") < text.index("Usable sample size Up to 12,000 events.") < text.index("Requirements")


def test_numbers_to_look_at_are_those_of_the_details(full):
    content, text = full
    data = json.loads(re.search(r'id="data">(.*?)</script>', text, flags=re.DOTALL)[1])
    result = next(r for r in content.results if r.name == "histograms" and r.details["category"] == "K")
    item = next(i for i in data["binned"] if i["what"] == "RichDLLk" and i["part"] == "K")
    np.testing.assert_allclose(item["generated"], result.details["generated"]["share"], rtol=1e-5)
    np.testing.assert_allclose(item["edges"], result.details["edges"], rtol=1e-5)
    found = next(r for r in content.results if r.name == "auc_map")
    layers = {layer["title"]: layer["values"] for layer in next(m for m in data["maps"] if "x_edges" in m)["layers"]}
    expected = np.array(found.details["difference"], dtype=float)
    np.testing.assert_allclose(np.array(layers["ΔAUC: generated − reference"], dtype=float), expected, rtol=1e-5)


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


def test_every_number_that_requirements_can_bound_is_explained():
    for name, metric in METRICS.items():
        for quantity in metric.quantities:
            assert "said by the outcome" not in explain(outcome(metric=name, quantity=quantity)), (name, quantity)


def test_headline_counts_and_names_failures():
    passed = outcome(passed=True)
    assert headline({"passed": True, "outcomes": [passed, passed]}) == "All 2 requirements are met."
    assert headline({"passed": True, "outcomes": [passed]}) == "The one requirement is met."
    failed = {"passed": False, "outcomes": [passed, outcome()]}
    assert headline(failed) == "1 of 2 requirements is not met: auc_map (max) on K-pi."
    assert headline({"passed": False, "outcomes": [outcome()] * 5}).endswith("; and 2 more.")


def test_headline_says_how_many_events_would_decide():
    unclear = outcome(status="cannot tell", events_needed=250_000)
    found = headline({"status": "cannot tell", "passed": False, "outcomes": [outcome(passed=True), unclear]})
    assert found == (
        "1 of 2 requirements cannot be decided with this sample: auc_map (max) on K-pi. "
        "About 250,000 test rows of that comparison would decide."
    )
    both = headline({"status": "fail", "passed": False, "outcomes": [outcome(status="fail"), unclear]})
    assert both.startswith("1 of 2 requirements is not met: ")
    assert "cannot be decided" in both
    two = headline({"outcomes": [unclear, {**unclear, "events_needed": 90_000}, {**unclear, "events_needed": None}]})
    assert two.endswith("At most about 250,000 test rows of each comparison would decide 2 of them.")
    unknown = headline({"status": "cannot tell", "passed": False, "outcomes": [outcome(status="cannot tell")]})
    assert unknown.endswith("on K-pi.")
    every = outcome(quantity=None, where="P 3 to 9", status="fail")
    assert "auc_map (every bin; P 3 to 9 decides) on K-pi" in headline({"outcomes": [every]})


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
