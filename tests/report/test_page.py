"""The report as a whole: complete, self-contained, and harmless whatever the run directory holds."""

from __future__ import annotations

import re
from importlib.resources import files
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workloads.errors import UnavailableError
from workloads.report import write_report
from workloads.report.source import printable

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
HOSTILE = st.text(min_size=1, max_size=60) | st.sampled_from(
    [
        "<script>alert(1)</script>",
        "</style><img src=x onerror=alert(1)>",
        '" onload="alert(1)',
        "{{ 7 * 7 }}{% raw %}",
        "]]><!--",
        "&lt;b&gt;&amp;amp;",
        "\ud800 lone",
        "\u202egnp.exe",
    ]
)


def test_a_whole_run_is_told_with_every_section(run: Any, page_of: Any) -> None:
    run.whole()
    page = page_of(run)
    assert page.faults == []
    for said in (
        "Published", "Training loss", "Learning rate", "Held-out loss", "0.0 % → 96.5 %", "4.1 → 0.12",
        "+0.01 worse", "60 of 60 logged steps", "Scale the web pool in zone b to 4 nodes.", "✗ wrong",
        "✓ right", "Gate ✓ passed",
        "Stopped at step 20", "from checkpoint-20; nothing to do again", "Process gone", "Damaged: checkpoint-31",
        "from checkpoint-30; 6 steps to do again", "tunery/demo@v1", "aliases when published: candidate",
        "a" * 64, "b" * 40, "c" * 64, "d" * 40, "e" * 64, "f" * 64, "8" * 64, "9" * 64, "lora_rank: 8",
    ):  # fmt: skip
        assert said in page.text


def test_every_heading_follows_its_parent_and_every_table_and_picture_is_named(run: Any, page_of: Any) -> None:
    run.whole()
    page = page_of(run)
    levels = [int(tag[1]) for tag in page.tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert page.tags.count("table") == page.tags.count("caption") > 0
    labels = [value for tag, name, value in page.attributes if tag == "svg" and name == "aria-label"]
    assert len(labels) == page.tags.count("svg") == 4
    assert "Training loss: 3.157 at step 1" in labels[0]


def test_nothing_is_loaded_from_anywhere(run: Any, page_of: Any) -> None:
    run.whole()
    page = page_of(run)
    assert not {"script", "link", "img", "iframe", "object", "image", "use"} & set(page.tags)
    assert not [name for _, name, _ in page.attributes if name in ("src", "href", "srcset", "xlink:href", "action")]
    style = "".join(page.texts) + "".join(value for _, name, value in page.attributes if name == "style")
    assert "url(" not in style
    assert "@import" not in style
    assert ("meta", "content", "default-src 'none'; style-src 'unsafe-inline'") in page.attributes


def test_equal_runs_give_equal_bytes(run: Any) -> None:
    root = run.whole()
    first = write_report(root).read_bytes()
    assert write_report(root).read_bytes() == first


def test_an_empty_directory_has_a_report(run: Any, page_of: Any) -> None:
    page = page_of(run)
    assert page.faults == []
    assert "Not started" in page.text


@pytest.mark.parametrize("part", ["run.json", "events.jsonl", "evaluation.json", "stages/publish.json"])
@pytest.mark.parametrize("content", [None, b"", b"{", b"[]", b"\xff\xfe"])
def test_a_missing_or_broken_part_leaves_the_others(run: Any, page_of: Any, part: str, content: bytes | None) -> None:
    path = run.whole() / part
    path.unlink() if content is None else path.write_bytes(content)
    page = page_of(run)
    assert page.faults == []
    rest = {
        "run.json": "96.5 %",
        "events.jsonl": "96.5 %",
        "evaluation.json": "lora_rank",
        "stages/publish.json": "96.5 %",
    }
    assert rest[part] in page.text


def test_a_failed_run_says_what_stopped_it_and_how_to_go_on(run: Any, page_of: Any) -> None:
    run.record()
    run.event("stage_started", stage="prepare")
    problem = {
        "message": "The output is empty.",
        "fix": "give it text",
        "file": "train.jsonl",
        "row": 7,
        "key": "output",
    }
    run.event("stage_failed", 1.0, stage="prepare", problems=[problem])
    text = page_of(run).text
    for said in ("Failed in prepare", "The output is empty.", "Fix: give it text.", "train.jsonl row 7:output"):
        assert said in text
    assert "tunery run --resume demo-3f2a91c07b" in text


def test_a_gate_that_stops_the_run_shows_what_fell_short(run: Any, page_of: Any) -> None:
    run.record()
    row = {"metric": "exact_match", "rule": "at least 0.99", "required": 0.99, "actual": 0.965, "passed": False}
    run.evaluate(gate={"passed": False, "rows": [row]})
    run.event("stage_started", stage="evaluate")
    run.event("gate_failed", 2.0)
    run.event("stage_failed", stage="evaluate", problems=[{"message": "exact_match is 0.965", "code": "gate"}])
    text = page_of(run).text
    for said in ("Stopped by the gate", "Gate ✗ not passed", "at least 0.99", "✗ fell short"):
        assert said in text


def test_a_killed_run_says_that_it_is_not_finished(run: Any, page_of: Any) -> None:
    run.record()
    run.event("stage_started", stage="train")
    run.event("train_started", 1.0, step=0, max_steps=60)
    run.logs(1, 3)
    text = page_of(run).text
    assert "Not finished" in text
    assert "The stage train has started and not ended" in text
    assert "serve not reached" in text


@settings(max_examples=40, deadline=None)
@given(strings=st.lists(HOSTILE, min_size=8, max_size=8))
def test_any_text_is_shown_and_never_becomes_markup(new_run: Any, page_of: Any, strings: list[str]) -> None:
    hostile, harmless = new_run(), new_run()
    for run, (question, answer, before, after, category, name, message, package) in (
        (hostile, strings),
        (harmless, ["x"] * 8),
    ):
        run.record(name=name, versions={package: message})
        sample = {"question": question, "answer": answer, "before": before, "after": after, "category": category}
        run.evaluate(samples=[sample])
        run.event("stage_started", stage="train")
        run.event("stage_failed", 1.0, stage="train", problems=[{"message": message, "fix": "", "file": name}])
    page = page_of(hostile)
    assert page.faults == []
    assert page.tags == page_of(harmless).tags
    shown = set(page.texts)
    for said in strings[:4]:
        assert printable(said) in shown


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_json_in_any_part_still_gives_a_report(new_run: Any, page_of: Any, data: st.DataObject) -> None:
    run = new_run()
    keys = st.sampled_from(["id", "spec", "base", "datasets", "versions", "training_config", "created", "seed"])
    measured = st.sampled_from(["before", "after", "baseline", "gate", "samples", "questions"])
    kinds = st.sampled_from(
        ["stage_started", "stage_finished", "stage_failed", "train_started", "resumed", "log", "checkpoint_saved",
         "preempted", "stage_skipped", "checkpoint_damaged", "published"]
    )  # fmt: skip
    fields = st.dictionaries(
        st.sampled_from(["time", "stage", "step", "loss", "eval_loss", "seconds", "bytes", "problems", "reasons"]),
        JSON | st.floats() | st.sampled_from(["train", "fetch"]),
    )
    for path, value in (
        (run.paths.record, data.draw(st.dictionaries(keys, JSON))),
        (run.paths.evaluation, data.draw(st.dictionaries(measured, JSON))),
        (run.paths.marker("publish"), data.draw(JSON)),
    ):
        run.write(path, value)
    for event, more in data.draw(st.lists(st.tuples(kinds, fields), max_size=12)):
        run.event(**{"after": 1.0, "time": run.now, **more, "event": event})
    assert page_of(run).faults == []


def test_ten_thousand_logs_stay_a_small_page(run: Any, page_of: Any) -> None:
    run.record()
    run.event("stage_started", stage="train")
    run.event("train_started", 1.0, step=0, max_steps=10_000)
    run.logs(1, 10_000, most=10_000)
    for step in range(100, 10_001, 100):
        run.save(step)
    page = page_of(run)
    assert page.faults == []
    assert "60 of 10,000 logged steps" in page.text
    assert run.paths.report.stat().st_size < 500_000


@pytest.mark.parametrize(
    "secret",
    [
        "hf_" + "a1B2" * 8, "AKCp" + "a1B2" * 8, "ghp_" + "a1B2" * 9, "glpat-" + "a1B2" * 5, "sk-" + "a1B2" * 8,
        "AKIA" + "A1B2" * 4, "eyJ" + "a1B2" * 4 + ".eyJ" + "a1B2" * 4 + ".sig", "-----BEGIN RSA PRIVATE" " KEY-----",
        "proxy://me:pass@host",
    ],
)  # fmt: skip
def test_what_looks_like_a_secret_is_hidden_wherever_it_stands(run: Any, secret: str) -> None:
    spec = {"training": {"hub_model_id": "me/model", "list": ["fine", f"with {secret}"]}}
    run.record(training_config={"note": secret}, spec=spec, versions={"index": secret}, name=f"x {secret}")
    run.event("stage_started", stage="train")
    run.event("stage_failed", stage="train", problems=[{"message": f"refused: {secret}", "fix": f"not {secret}"}])
    html = write_report(run.paths.root).read_text(encoding="utf-8")
    assert secret not in html
    assert "refused: " in html
    assert "me/model" in html


def test_what_is_named_a_secret_is_hidden_and_a_token_of_a_tokenizer_is_not(run: Any) -> None:
    named = dict.fromkeys(("hf_hub_token", "swanlab_api_key", "password", "client_secret"), "tell-nobody")
    run.record(training_config={**named, "pad_token": "<pad-here>"})
    text = write_report(run.paths.root).read_text(encoding="utf-8")
    assert "tell-nobody" not in text
    assert "&lt;pad-here&gt;" in text


def test_a_report_that_cannot_be_written_says_so(run: Any) -> None:
    run.record()
    (run.paths.report / "in-the-way").mkdir(parents=True)
    with pytest.raises(UnavailableError, match="cannot be written"):
        write_report(run.paths.root)
    assert list(run.paths.root.glob(".report*")) == []


def test_colours_are_far_enough_apart_to_read() -> None:
    css = (files("workloads.report") / "templates" / "report.css").read_text(encoding="utf-8")
    light, dark = (
        dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", block))
        for block in re.findall(r":root \{(.*?)\}", css, re.S)[:2]
    )
    on = [(text, ground) for text in ("ink", "quiet", "good", "bad") for ground in ("card", "faint")]
    on += [("quiet", "page"), ("good", "good-soft"), ("bad", "bad-soft"), ("wait", "wait-soft"), ("ink", "bad-soft")]
    for scheme in (light, dark):
        assert {
            pair: _contrast(scheme[pair[0]], scheme[pair[1]])
            for pair in on
            if _contrast(scheme[pair[0]], scheme[pair[1]]) < 4.5
        } == {}
        for line in ("blue", "orange", "lost"):
            assert _contrast(scheme[line], scheme["card"]) >= 3


def _contrast(one: str, other: str) -> float:
    """WCAG 2's contrast ratio of two colours, from 1 to 21."""
    lighter, darker = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def _luminance(color: str) -> float:
    parts = [int(color[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
