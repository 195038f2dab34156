"""A run directory written by hand, and a browser to look at its report with."""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from workloads.report import write_report
from workloads.runtime import RunPaths

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

START = 1_770_000_000.0


class RunWriter:
    """Writes a run directory piece by piece, as the stages would."""

    def __init__(self, root: Path) -> None:
        root.mkdir(parents=True, exist_ok=True)
        self.paths = RunPaths(root)
        self.now = START

    @staticmethod
    def write(path: Path, value: Any) -> None:
        """A JSON file in ASCII, which can hold what UTF-8 cannot."""
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(value), encoding="ascii")

    def event(self, event: str, after: float = 0.0, **fields: Any) -> None:
        """Lets ``after`` seconds pass and appends an event."""
        self.now += after
        with self.paths.events.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps({"time": self.now, "event": event, **fields}) + "\n")

    def stage(self, stage: str, seconds: float, **outputs: Any) -> None:
        """A stage that runs through."""
        self.event("stage_started", stage=stage)
        self.event("stage_finished", seconds, stage=stage, seconds=seconds)
        self.mark(stage, **outputs)

    def mark(self, stage: str, **outputs: Any) -> None:
        """The marker of a finished stage."""
        self.write(self.paths.marker(stage), {"stage": stage, "outputs": outputs})

    def logs(self, first: int, last: int, most: int = 60) -> None:
        """One log a step, half a second each, of a loss that falls."""
        for step in range(first, last + 1):
            loss = 3.2 * math.exp(-step / 18) + 0.08 + 0.05 * math.sin(step * 1.7)
            rate = 3e-3 * min(1.0, step / 6) * (0.5 + 0.5 * math.cos(math.pi * step / most))
            self.event(
                "log", 0.5, step=step, max_steps=most, epoch=step / 20, loss=loss, learning_rate=rate,
                grad_norm=1 + math.cos(step / 3), tokens_per_second=4200.0 + 150 * math.sin(step),
            )  # fmt: skip

    def save(self, step: int) -> None:
        """A checkpoint that took a tenth of a second."""
        self.event("checkpoint_saved", 0.1, step=step, seconds=0.1, bytes=1_400_000)

    def record(self, **changes: Any) -> None:
        """run.json of a run with every part."""
        value = {
            "id": "demo-3f2a91c07b",
            "name": "demo",
            "created": "2026-02-02T02:40:00+00:00",
            "spec": {
                "name": "demo",
                "team": "platform",
                "publish": {"name": "tunery/demo"},
                "serve": {"question": "Hi"},
            },
            "config_digest": "a" * 64,
            "base": {"model": "tunery/tiny", "revision": "b" * 40, "reference": "tunery/tiny@v1", "folder": None},
            "datasets": [{"name": "operations", "file": "/somewhere/train.jsonl", "sha256": "c" * 64, "rows": 600}],
            "training_config": {"stage": "sft", "do_train": True, "learning_rate": 3e-3, "lora_rank": 8},
            "versions": {"llamafactory": "0.9.5", "torch": "2.9.1"},
            "git_commit": "d" * 40,
            "seed": 42,
        }
        self.write(self.paths.record, value | changes)

    def evaluate(self, **changes: Any) -> None:
        """evaluation.json of a run whose gate passes."""
        value = {
            "before": {"loss": 4.1, "perplexity": 60.3, "exact_match": 0.0},
            "after": {"loss": 0.12, "perplexity": 1.13, "exact_match": 0.965},
            "baseline": {"loss": 0.11, "exact_match": 0.95},
            "gate": {
                "passed": True,
                "rows": [
                    {"metric": "exact_match", "rule": "at least 0.9", "required": 0.9, "actual": 0.965, "passed": True},
                    {"metric": "loss", "rule": "at most 0.5", "required": 0.5, "actual": 0.12, "passed": True},
                ],
            },
            "samples": [
                {
                    "question": "Scale the web pool in zone b to 4 nodes.",
                    "answer": "pool=web zone=b action=scale nodes=4",
                    "before": "the the pool pool is and the node node node",
                    "after": "pool=web zone=b action=scale nodes=4",
                    "category": "scale",
                    "correct_before": False,
                    "correct_after": True,
                }
            ],
            "questions": {"count": 200},
            "held_out": {"rows": 120},
        }
        self.write(self.paths.evaluation, value | changes)

    def whole(self) -> Path:
        """A published run that was stopped once and killed once on its way; returns its directory."""
        self.record()
        self.stage("fetch", 0.4)
        self.stage("prepare", 5.2, rows={"train": 600, "eval": 120}, digest="e" * 64)
        self.event("stage_started", stage="train")
        self.event("train_started", 2.5, step=0, max_steps=60)
        self.logs(1, 10)
        self.save(10)
        self.logs(11, 20)
        self.save(20)
        self.event("preempted", step=20, max_steps=60)
        self._again(43.0)
        self.event("resumed", 3.0, step=20, checkpoint="checkpoint-20")
        self.event("train_started", 2.0, step=20, max_steps=60)
        self.logs(21, 30)
        self.save(30)
        self.logs(31, 36)  # and then it is killed
        self._again(12.0)
        self.event("checkpoint_damaged", 2.0, checkpoint="checkpoint-31", reasons=["optimizer.pt: missing"])
        self.event("resumed", 1.0, step=30, checkpoint="checkpoint-30")
        self.event("train_started", 2.0, step=30, max_steps=60)
        self.logs(31, 60)
        self.event("log", 0.4, step=60, max_steps=60, eval_loss=0.12, eval_runtime=0.4)
        self.save(60)
        self.event("stage_finished", 0.3, stage="train", seconds=20.0)
        self.mark("train", steps=60, digest="f" * 64)
        self.evaluate()
        self.event("gate_passed")
        self.stage("evaluate", 6.1)
        self.stage("export", 1.2, digest="9" * 64)
        self.event("published", reference="tunery/demo@v1", digest="8" * 64)
        self.stage("publish", 0.3, reference="tunery/demo@v1", digest="8" * 64, aliases=["candidate"])
        self.stage("serve", 2.2)
        self.event("run_finished")
        return self.paths.root

    def _again(self, after: float) -> None:
        self.event("stage_skipped", after, stage="fetch")
        self.event("stage_skipped", stage="prepare")
        self.event("stage_started", stage="train")


class Page(HTMLParser):
    """A page that was parsed: every element, attribute and text in order, and what is wrong with its nesting."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.texts: list[str] = []
        self.faults: list[str] = []
        self._open: list[str] = []
        self.feed(html)
        self.close()
        self.faults += [f"<{tag}> is not closed" for tag in self._open]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_startendtag(tag, attrs)
        if tag not in ("meta", "br", "link", "img", "input"):
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        if not self._open or self._open.pop() != tag:
            self.faults.append(f"</{tag}> closes nothing")

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    @property
    def text(self) -> str:
        """All text, with runs of white space as one space."""
        return " ".join("".join(self.texts).split())


@pytest.fixture(scope="session")
def new_run(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], RunWriter]:
    """Makes an empty run directory to fill."""
    return lambda: RunWriter(tmp_path_factory.mktemp("run"))


@pytest.fixture
def run(new_run: Callable[[], RunWriter]) -> RunWriter:
    """An empty run directory to fill."""
    return new_run()


@pytest.fixture(scope="session")
def page_of() -> Callable[[RunWriter], Page]:
    """Writes a run's report and parses it."""
    return lambda run: Page(write_report(run.paths.root).read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    """Debian's chromium without a network. Without one: a failure under CI, else a skip that says what to install."""
    from selenium import webdriver

    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or driver is None:
        missing = "needs a browser: apt-get install chromium chromium-driver"
        if os.environ.get("CI") == "true":
            pytest.fail(missing)
        pytest.skip(missing)
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in (
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--disable-dev-shm-usage",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--hide-scrollbars",  # they would take a part of each width that a test asks for
        f"--user-data-dir={tmp_path_factory.mktemp('profile')}",
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    chrome = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    try:
        chrome.execute_cdp_cmd("Network.enable", {})
        offline = {"offline": True, "latency": 0, "downloadThroughput": 0, "uploadThroughput": 0}
        chrome.execute_cdp_cmd("Network.emulateNetworkConditions", offline)
        yield chrome
    finally:
        chrome.quit()
