"""What goes from the cache and from a directory hub, and what stays."""

from __future__ import annotations

import json
import os
import time
from datetime import UTC, datetime, timedelta

import pytest

from workloads.cli.main import main
from workloads.hub.cache import cached
from workloads.hub.retention import old_copies, old_versions, remove_copies, remove_versions

DAY = 86400.0


@pytest.fixture
def versions(hub, make_folder):
    """Five versions of one model, of which the third is the base of another model's version."""
    found = [
        hub.publish(make_folder({"config.json": b"{}", "w": b"%d" % number * 100}), "bot", lineage={})
        for number in range(5)
    ]
    base = {"base": {"reference": found[2].reference, "revision": found[2].revision}}
    hub.publish(make_folder({"adapter": b"a"}), "tuned", lineage=base)
    hub.promote(found[1], "production")
    return found


def later(days=100.0):
    return datetime.now(UTC) + timedelta(days=days)


def test_versions_that_somebody_may_need_stay(hub, versions):
    old = old_versions(hub, now=later(), older_than=30 * DAY, keep=1)
    assert [each.name for each in old] == ["bot@v1", "bot@v4"]  # v2 has an alias, v3 is a base, v5 is the newest
    assert [each.size for each in old] == [100, 100]  # config.json is of others too
    assert old_versions(hub, now=later(), older_than=30 * DAY, keep=5) == []
    assert old_versions(hub, now=later(1), older_than=30 * DAY, keep=1) == []


def test_what_is_removed_is_gone_and_the_rest_verifies(hub, versions):
    blobs = len(list((hub.root / "blobs").glob("*/*")))
    remove_versions(hub, old_versions(hub, now=later(), older_than=30 * DAY, keep=1))
    assert [each.reference for each in hub.models()] == ["bot@v2", "bot@v3", "bot@v5", "tuned@v1"]
    assert len(list((hub.root / "blobs").glob("*/*"))) == blobs - 2
    assert all(hub.verify(version) == [] for version in hub.models())
    assert old_versions(hub, now=later(), older_than=30 * DAY, keep=1) == []


def test_contents_of_no_version_are_found(hub, versions):
    stray = hub.root / "blobs" / "ab" / ("ab" * 32)
    stray.parent.mkdir(exist_ok=True)
    stray.write_bytes(b"half a publication")
    (old,) = old_versions(hub, now=later(0), older_than=30 * DAY, keep=5)
    assert old.size == 18
    remove_versions(hub, [old])
    assert not stray.exists()
    assert len(hub.models()) == 6


def test_a_copy_that_was_not_used_for_long_goes_unless_a_process_holds_it(hub, versions, tmp_path):
    cache = tmp_path / "cache"
    for version in versions[:3]:
        hub.fetch(version, cache / "models" / version.revision)
    held = cached(hub, versions[0], cache)
    for version in versions[:2]:
        os.utime(cache / "models" / version.revision, (0, 0))
    old = old_copies(cache, now=time.time(), older_than=30 * DAY)
    assert {each.name for each in old} == {f"models/{version.revision}" for version in versions[:2]}
    assert [each.name for each in remove_copies(cache, old)] == [f"models/{versions[1].revision}"]
    assert held.is_dir()
    assert not (cache / "models" / versions[1].revision).exists()


def test_the_command_lists_first_and_removes_on_demand(hub, versions, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("TUNERY_HUB", str(hub.root))

    def clean(*arguments):
        with pytest.raises(SystemExit) as stop:
            main(["clean", "--older-than", "0h", "--json", *arguments])
        return stop.value.code, json.loads(capsys.readouterr().out)

    code, found = clean("--hub", "--keep", "2")
    assert (code, [each["name"] for each in found["old"]], found["removed"]) == (0, ["bot@v1"], [])
    assert clean("--hub", "--keep", "2", "--delete")[1]["removed"] == ["bot@v1"]
    hub.fetch(versions[1], tmp_path / "cache" / "models" / versions[1].revision)
    assert clean("--cache", "--delete")[1]["removed"] == [f"models/{versions[1].revision}"]
    assert clean("--cache", "--hub")[0] == 64
