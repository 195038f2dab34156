"""What may go of runs, and above all what may not."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from workloads.engines.janitor import StoredRun, active_runs, leftovers, old_objects
from workloads.runtime import STAGES
from workloads.storage.manifest import MANIFEST_NAME
from workloads.storage.objects import StoredObject

DAY = 86400.0
NOW, AGE = 1000 * DAY, 30 * DAY
LABEL = "tunery.dev/run"
PARTS = (
    "run.json", "training.yaml", "events.jsonl", "progress.json", "evaluation.json", "report.html",
    "inputs/data/00/rows.json", f"inputs/data/{MANIFEST_NAME}", f"inputs/settings/{MANIFEST_NAME}",
    "data/tokenized/0.arrow", f"data/{MANIFEST_NAME}",
    "checkpoints/checkpoint-4/model.safetensors", f"checkpoints/checkpoint-4/{MANIFEST_NAME}",
    "checkpoints/checkpoint-8/model.safetensors", f"checkpoints/checkpoint-8/{MANIFEST_NAME}",
    "damaged/checkpoint-2/model.safetensors",
    "trained/adapter_model.safetensors", f"trained/{MANIFEST_NAME}", "trained.partial/adapter_model.safetensors",
    "export/model.safetensors", f"export/{MANIFEST_NAME}",
    *(f"stages/{stage}.json" for stage in STAGES),
)  # fmt: skip
KEPT = (
    "run.json",
    "events.jsonl",
    "evaluation.json",
    "training.yaml",
    "report.html",
    "stages/",
    "inputs/",
    "trained/",
    "export/",
)


def _run(id_: str, keys: tuple[str, ...], *, age: float = 60 * DAY, **more: Any) -> StoredRun:
    objects = tuple(StoredObject(key, 100, None, NOW - age) for key in keys)
    record = {"name": "chat", "created": "2026-01-01", "spec": {}} if "run.json" in keys else {}
    return StoredRun(id_, objects, **({"active": False, "record": record} | more))


def _removed(runs: list[StoredRun]) -> dict[str, set[str]]:
    """Run -> the keys that would be gone."""
    gone: dict[str, set[str]] = {run.id: set() for run in runs}
    for each in leftovers(runs, now=NOW, older_than=AGE):
        run = next(run for run in runs if run.id == each.run)
        paths = {f"{run.id}/{stored.key}": stored.key for stored in run.objects}
        gone[run.id] |= {key for path, key in paths.items() if path == each.path or path.startswith(f"{each.path}/")}
    return gone


stored_runs = st.builds(
    lambda number, keys, age, active, trained, name, created, publish: StoredRun(
        f"{name}-{number:010x}",
        tuple(StoredObject(key, 1, None, NOW - age) for key in sorted(keys)),
        active,
        {"name": name, "created": created, "spec": {"publish": publish}} if "run.json" in keys else {},
        trained and "stages/train.json" in keys,
    ),
    st.integers(0, 2**30),
    st.sets(st.sampled_from(PARTS), min_size=1),
    st.floats(0, 90 * DAY),
    st.booleans(),
    st.booleans(),
    st.sampled_from(["chat", "code"]),
    st.sampled_from(["2026-01-01", "2026-02-01"]),
    st.sampled_from([None, {"name": "chat"}]),
)


@settings(max_examples=400, deadline=None)
@given(st.lists(stored_runs, max_size=4, unique_by=lambda run: run.id))
def test_nothing_goes_that_a_running_or_published_or_unfinished_run_needs(runs: list[StoredRun]) -> None:
    finished = {run.made for run in runs if run.finished}
    for run in runs:
        gone = _removed(runs)[run.id]
        keys = {each.key for each in run.objects}
        age = NOW - max(each.modified or 0 for each in run.objects)
        if run.active or age < AGE:
            assert not gone
        if "run.json" in keys:
            assert not {key for key in gone if key.startswith(KEPT)}
        if "stages/publish.json" in keys and "run.json" in keys:
            assert all(key.startswith(("checkpoints/", "damaged/", "trained.partial/")) for key in gone)
        superseded = any(name == run.made[0] and later > run.made[1] for name, later in finished)
        if not run.trained and not superseded:
            committed = {key.rpartition("/")[0] for key in keys if key.endswith(MANIFEST_NAME)}
            assert not {key for key in gone if key.startswith("checkpoints/") and key.rpartition("/")[0] in committed}


def test_a_finished_run_keeps_its_result_and_loses_its_scratch() -> None:
    keys = tuple(key for key in PARTS if key not in ("stages/publish.json", "stages/serve.json"))
    gone = _removed([_run("chat-0000000001", keys, trained=True)])["chat-0000000001"]
    assert {key.partition("/")[0] for key in gone} == {"checkpoints", "damaged", "data", "trained.partial"}


def test_a_published_run_keeps_its_prepared_data_too() -> None:
    gone = _removed([_run("chat-0000000001", PARTS, trained=True)])["chat-0000000001"]
    assert {key.partition("/")[0] for key in gone} == {"checkpoints", "damaged", "trained.partial"}


def test_an_unfinished_run_keeps_whole_checkpoints_until_a_later_run_of_its_name_has_finished() -> None:
    torn = "checkpoints/checkpoint-12/model.safetensors"
    keys = ("run.json", *(key for key in PARTS if key.startswith("checkpoints/")), torn)
    stopped = _run("chat-0000000001", keys)
    assert _removed([stopped])["chat-0000000001"] == {torn}
    done = tuple(key for key in PARTS if not key.startswith("stages/p") or key == "stages/prepare.json")
    record = {"name": "chat", "created": "2026-02-01", "spec": {}}
    later = _run("chat-0000000002", done, record=record, trained=True)
    assert _removed([stopped, later])["chat-0000000001"] == {key for key in keys if key.startswith("checkpoints/")}


def test_only_a_bundle_that_was_never_sent_to_its_end_goes_as_a_whole() -> None:
    bundle = ("inputs/data/00/rows.json", "training.yaml")
    assert _removed([_run("chat-0000000001", bundle)])["chat-0000000001"] == set(bundle)
    assert not _removed([_run("chat-0000000001", bundle, age=DAY)])["chat-0000000001"]
    assert not _removed([_run("lost-and-found", bundle)])["lost-and-found"]
    assert not _removed([_run("chat-0000000001", ("remote.json",))])["chat-0000000001"]


def test_a_store_that_does_not_say_when_is_left_alone() -> None:
    run = StoredRun("chat-0000000001", (StoredObject("training.yaml", 1, None),), False, {})
    assert leftovers([run], now=NOW, older_than=AGE) == []


def _object(name: str, age: float, *, done: bool = False, run: str | None = None) -> dict[str, Any]:
    from datetime import UTC, datetime

    labels = {LABEL: run or name} | ({"workflows.argoproj.io/completed": "true"} if done else {})
    created = datetime.fromtimestamp(NOW - age, UTC).isoformat()
    return {"metadata": {"name": name, "uid": f"uid-{name}", "labels": labels, "creationTimestamp": created}}


def test_kubernetes_objects_go_when_they_are_old_and_nothing_needs_them() -> None:
    workflows = [
        _object("old", 40 * DAY, done=True),
        _object("recent", DAY, done=True),
        _object("waits", 40 * DAY),
    ]
    names = ("old", "recent", "waits", "nightly", "orphan")
    templates = [*(_object(name, 40 * DAY) for name in names), _object("new", DAY)]
    schedules = [_object("nightly-schedule", 40 * DAY, run="nightly")]
    found = old_objects(workflows, templates, schedules, run_label=LABEL, now=NOW, older_than=AGE)
    assert [(each.kind, each.name) for each in found] == [
        ("Workflow", "old"),
        ("WorkflowTemplate", "old"),
        ("WorkflowTemplate", "orphan"),
    ]


def test_a_firing_keeps_the_run_that_it_starts_from_active() -> None:
    workflows = [_object("nightly-1700000000", DAY, run="nightly-00aa00aa00"), _object("old", DAY, done=True)]
    schedules = [_object("weekly", DAY, run="weekly-11bb11bb11")]
    active = active_runs(workflows, schedules, run_label=LABEL)
    assert active == {"nightly-1700000000", "nightly-00aa00aa00", "weekly-11bb11bb11"}
