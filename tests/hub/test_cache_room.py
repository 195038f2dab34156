from __future__ import annotations

import os

import pytest

from workloads.errors import InputError, UnavailableError
from workloads.hub.cache import cached
from workloads.hub.cache_room import cache_limit, hold, make_room


@pytest.fixture
def models(tmp_path):
    folder = tmp_path / "cache" / "models"
    folder.mkdir(parents=True)
    return folder


def copy(models, name, size=1000, used=0):
    folder = models / name
    folder.mkdir()
    (folder / "weights").write_bytes(b"w" * size)
    os.utime(folder, (used, used))
    return folder


@pytest.mark.parametrize(
    ("text", "size"),
    [("", None), ("1500", 1500), ("200GB", 200 * 10**9), ("1.5TiB", 3 * 2**39), ("10 k", 10_000), ("2mib", 2**21)],
)
def test_a_limit_is_read_as_people_write_it(text, size):
    assert cache_limit({"TUNERY_CACHE_LIMIT": text}) == size


@pytest.mark.parametrize("text", ["many", "-1GB", "10XB", "GB"])
def test_what_is_no_size_is_refused(text):
    with pytest.raises(InputError, match="is no size"):
        cache_limit({"TUNERY_CACHE_LIMIT": text})


def test_what_was_not_used_for_longest_goes_first(models):
    for number, name in enumerate(("b", "a", "c")):
        copy(models, name, used=number)
    make_room(models.parent, 1000, models / "new", 3000)
    assert sorted(path.name for path in models.iterdir() if path.is_dir()) == ["a", "c"]


def test_nothing_goes_while_there_is_room_or_no_limit(models):
    copy(models, "a")
    make_room(models.parent, 2000, models / "new", 3000)
    make_room(models.parent, 10**12, models / "new", None)
    assert (models / "a" / "weights").exists()


def test_what_another_process_holds_stays_until_that_ends(models):
    held, free = copy(models, "held", used=1), copy(models, "free", used=2)
    ready, done = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        os.write(ready[1], b"y" if hold(held) else b"n")
        os.read(done[0], 1)
        os._exit(0)
    assert os.read(ready[0], 1) == b"y"
    make_room(models.parent, 1000, models / "new", 2000)
    assert held.exists()
    assert not free.exists()
    with pytest.raises(UnavailableError, match=r"the cache may take 1,500"):
        make_room(models.parent, 1000, models / "new", 1500)
    os.kill(child, 9)
    os.waitpid(child, 0)
    make_room(models.parent, 1000, models / "new", 1500)
    assert not held.exists()


def test_a_use_makes_a_copy_young_again(models):
    old, young = copy(models, "old", used=1), copy(models, "young", used=2)
    child = os.fork()
    if child == 0:
        os._exit(0 if hold(old) else 1)
    assert os.waitpid(child, 0)[1] == 0
    make_room(models.parent, 1000, models / "new", 2000)
    assert old.exists()
    assert not young.exists()


def test_a_copy_that_is_being_fetched_stays(models):
    from filelock import FileLock

    copy(models, "a")
    with FileLock(models / ".a.lock"), pytest.raises(UnavailableError, match="cache may take"):
        make_room(models.parent, 1000, models / "new", 1000)
    assert (models / "a" / "weights").exists()


def test_a_hold_of_what_is_gone_is_none(models):
    assert not hold(models / "absent")


def test_a_fetch_makes_its_own_room(hub, make_folder, tmp_path, monkeypatch):
    versions = [hub.publish(make_folder({"a": os.urandom(3000)}), f"m{number}", lineage={}) for number in range(3)]
    monkeypatch.setenv("TUNERY_CACHE_LIMIT", "7kB")
    for version in versions[:2]:
        child = os.fork()
        if child == 0:
            cached(hub, version, tmp_path / "cache")
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
    folder = cached(hub, versions[2], tmp_path / "cache")
    left = {path.name for path in folder.parent.iterdir() if path.is_dir()}
    assert left == {versions[1].revision, versions[2].revision}
