"""``tunery cost``, over a store in a folder."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from workloads import platform, prices
from workloads.cli.main import main
from workloads.engines.bills import spent

HOUR = 3600.0
Cost = Callable[..., Any]


@pytest.fixture
def store(tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The store of team research in an environment like prod, whose buckets are folders."""
    values = json.loads((repository / "configs" / "platform" / "prod.json").read_text())
    values["local"] = {"store": str(tmp_path / "store")}
    folder = tmp_path / "platform"
    folder.mkdir()
    (folder / "prod.json").write_text(json.dumps(values))
    monkeypatch.setenv("TUNERY_PLATFORM", str(folder))
    monkeypatch.setenv("TUNERY_PRICES", str(repository / "configs" / "prices.json"))
    return Path(platform.load("prod").store("research"))


@pytest.fixture
def cost(capsys: pytest.CaptureFixture[str]) -> Cost:
    """Runs the verb; its JSON, or its exit code when that is not 0."""

    def call(*arguments: str) -> Any:
        with pytest.raises(SystemExit) as stop:
            main(["cost", "--json", *arguments])
        answer = json.loads(capsys.readouterr().out)
        return answer if stop.value.code == 0 else stop.value.code

    return call


def _trained(store: Path, run: str, hours: float, spec: dict[str, Any] | None = None) -> None:
    """A run that trained for so many hours until now."""
    now = datetime.now(UTC).timestamp()
    folder = store / run
    folder.mkdir(parents=True)
    events = [
        {"time": now - hours * HOUR, "event": "stage_started", "stage": "train"},
        {"time": now - hours * HOUR, "event": "train_started", "step": 0, "max_steps": 9},
        {"time": now, "event": "stage_finished", "stage": "train"},
    ]
    (folder / "events.jsonl").write_text("".join(json.dumps(each) + "\n" for each in events))
    chosen = spec or {"name": "chat", "training": {"stage": "sft"}, "resources": {"capacity": "on-demand"}}
    (folder / "run.json").write_text(json.dumps({"id": run, "created": "2026-11-24T10:00:00+00:00", "spec": chosen}))


def test_a_run_costs_its_hours(store: Path, cost: Cost) -> None:
    _trained(store, "chat-0000000001", 3.0)
    contract, listed = platform.load("prod"), prices.load()
    hour = listed.node_hour(contract.pools["l4x1"], contract.region, "on-demand")
    assert hour is not None
    found = cost("chat-0000000001", "--on", "prod", "--team", "research")
    assert found["total"]["expected"] == pytest.approx(3 * hour.expected, rel=1e-3)
    assert found["lost"]["expected"] == 0
    assert found["currency"] == listed.currency


def test_a_team_costs_what_its_runs_cost_and_what_cannot_be_priced_is_named(store: Path, cost: Cost) -> None:
    _trained(store, "chat-0000000001", 1.0)
    _trained(store, "chat-0000000002", 2.0)
    _trained(store, "chat-0000000003", 1.0, {"name": "chat", "of": "another version"})
    found = cost("--on", "prod", "--team", "research", "--since", "2026-01-01")
    assert [each["id"] for each in found["runs"]] == ["chat-0000000001", "chat-0000000002"]
    parts = sum(each["total"]["expected"] for each in found["runs"])
    assert found["total"]["total"]["expected"] == pytest.approx(parts, abs=1e-3)
    assert "chat-0000000003" in found["without_bill"][0]
    later = cost("--on", "prod", "--team", "research", "--since", "2100-01-01")
    assert later["runs"] == []
    month = spent("research", platform.load("prod"), prices.load(), datetime.now(UTC))
    assert month == pytest.approx(parts, abs=1e-3)


def test_a_spec_costs_what_somebody_expects_or_an_earlier_run_took(store: Path, cost: Cost, tmp_path: Path) -> None:
    spec = tmp_path / "chat.yaml"
    spec.write_text(json.dumps({"name": "chat", "training": {"stage": "sft"}, "resources": {"max_hours": 10}}))
    unknown = cost(str(spec), "--on", "prod")
    assert unknown["expected"] is None
    said = cost(str(spec), "--on", "prod", "--hours", "2")
    _trained(store, "chat-0000000001", 2.0)
    measured = cost(str(spec), "--on", "prod", "--team", "research", "--like", "chat-0000000001")
    assert said["expected"] == pytest.approx(measured["expected"], abs=0.02)
    assert 0 < said["low"] <= said["expected"] < said["high"] == unknown["high"]


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("chat-0000000009", "--on", "prod", "--team", "research"),
        ("--on", "prod", "--since", "yesterday"),
        ("--on", "prod", "--team", "nobody"),
    ],
)
def test_what_cannot_be_answered_is_an_input_error(store: Path, cost: Cost, arguments: tuple[str, ...]) -> None:
    assert cost(*arguments) == 64


def test_people_read_a_table(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _trained(store, "chat-0000000001", 1.0)
    with pytest.raises(SystemExit) as stop:
        main(["cost", "--on", "prod", "--team", "research"])
    assert stop.value.code == 0
    shown = capsys.readouterr().out
    assert "chat-0000000001" in shown
    assert "1 runs since" in shown
    assert "useful" in shown
