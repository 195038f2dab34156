"""Processes that are killed at any step, or run at the same time, leave a hub that is whole."""

from __future__ import annotations

import itertools
import json
import shutil
from pathlib import Path

import pytest

from workloads.hub.cache import cached
from workloads.hub.directory import DirectoryHub
from workloads.storage import manifest

OLD = {"config.json": b"{}", "a.safetensors": b"a" * 100}
NEW = {"config.json": b"{}", "a.safetensors": b"b" * 100, "b.safetensors": b"c" * 100}


@pytest.fixture
def started(tmp_path, make_folder):
    """Gives a fresh copy of a hub with one version, as often as asked."""
    template = DirectoryHub(tmp_path / "template")
    template.publish(make_folder(OLD), "model", lineage={}, aliases=["production"])
    numbers = itertools.count()

    def fresh() -> DirectoryHub:
        return DirectoryHub(Path(shutil.copytree(template.root, tmp_path / f"hub-{next(numbers)}")))

    return fresh


def test_a_publisher_killed_at_any_step_leaves_the_old_state_or_the_new_one(started, make_folder, killed_before):
    folder = make_folder(NEW)
    seen = set()
    for steps in itertools.count():
        hub = started()

        def publish(hub=hub):
            return hub.publish(folder, "model", lineage={"seed": 1}, aliases=["production"])

        killed = killed_before(steps, publish)
        state = tuple((version.version, version.aliases) for version in hub.models())
        seen.add(state)
        assert [hub.verify(version) for version in hub.models()] == [[]] * len(state)
        assert publish().reference == "model@v2"
        assert [(v.version, v.aliases) for v in hub.models()] == [("v1", ()), ("v2", ("production",))]
        assert [hub.verify(version) for version in hub.models()] == [[], []]
        assert list((hub.root / "incoming").glob("*")) == []
        if not killed:
            break
    assert steps > 10, "the publication has fewer steps than it must"
    assert seen == {
        (("v1", ("production",)),),
        (("v1", ("production",)), ("v2", ())),
        (("v1", ()), ("v2", ("production",))),
    }


def test_a_fetch_killed_at_any_step_does_not_count_and_goes_on(started, killed_before, tmp_path):
    hub = started()
    version = hub.models()[0]
    for steps in itertools.count():
        cache = tmp_path / f"cache-{steps}"
        folder = cache / "models" / version.revision
        killed = killed_before(steps, lambda cache=cache: cached(hub, version, cache))
        if manifest.read(folder) is not None:
            assert manifest.damage(folder) == []
        assert cached(hub, version, cache) == folder
        assert manifest.damage(folder) == []
        assert {path.name for path in folder.iterdir()} >= OLD.keys()
        assert not list(folder.glob(".*.partial"))
        if not killed:
            break
    assert steps > 6, "the fetch has fewer steps than it must"


def test_a_fetch_over_another_version_leaves_no_manifest_that_lies(hub, make_folder, killed_before, tmp_path):
    first = hub.publish(make_folder(OLD), "model", lineage={})
    second = hub.publish(
        make_folder({name: content[::-1] + b"!" for name, content in OLD.items()}), "model", lineage={}
    )
    for steps in itertools.count():
        folder = tmp_path / f"copy-{steps}"
        hub.fetch(first, folder)
        killed = killed_before(steps, lambda folder=folder: hub.fetch(second, folder))
        assert manifest.read(folder) is None or manifest.damage(folder) == []
        if not killed:
            break
    assert manifest.read(folder).digest == second.digest


def test_two_publishers_of_different_bytes_get_two_versions(hub, make_folder, at_once):
    folders = [make_folder(OLD), make_folder(NEW)]
    at_once(*(lambda f=f: hub.publish(f, "model", lineage={}, aliases=["candidate"]) for f in folders))
    models = hub.models()
    assert [version.version for version in models] == ["v1", "v2"]
    assert [version.aliases for version in models] == [(), ("candidate",)]
    assert [hub.verify(version) for version in models] == [[], []]


def test_two_publishers_of_the_same_bytes_get_one_version(hub, make_folder, at_once):
    folders = [make_folder(NEW), make_folder(NEW)]
    at_once(*(lambda f=f: hub.publish(f, "model", lineage={}) for f in folders))
    assert [version.version for version in hub.models()] == ["v1"]


def test_promotions_at_the_same_time_follow_one_another(hub, make_folder, at_once):
    first = hub.publish(make_folder(OLD), "model", lineage={})
    second = hub.publish(make_folder(NEW), "model", lineage={})

    def swing() -> None:
        for version in (first, second) * 5:
            hub.promote(version, "production")

    at_once(swing, swing)
    lines = [json.loads(line) for line in (hub.root / "promotions.jsonl").read_text().splitlines()]
    assert lines[0]["from"] is None
    assert all(before["to"] == after["from"] != after["to"] for before, after in itertools.pairwise(lines))


def test_two_runs_that_want_the_same_model_fetch_it_once(hub, make_folder, at_once, tmp_path):
    version = hub.publish(make_folder(NEW), "model", lineage={})
    calls = tmp_path / "calls"

    class Counting(DirectoryHub):
        def fetch(self, *arguments):
            with calls.open("a") as stream:
                stream.write("fetched\n")
            return super().fetch(*arguments)

    want = [lambda: cached(Counting(hub.root), version, tmp_path / "cache")] * 2
    at_once(*want)
    assert calls.read_text() == "fetched\n"
    assert manifest.damage(tmp_path / "cache" / "models" / version.revision) == []
