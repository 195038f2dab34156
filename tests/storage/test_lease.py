"""Who may write, in both kinds of store."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from workloads.errors import ExitCode, UnavailableError
from workloads.storage.lease import FencedError, Lease
from workloads.storage.objects import Store, StoredObject, open_store

PLACE = "run/leases/train"


def test_who_comes_last_holds_and_the_one_before_is_told_who_it_is(store: Store) -> None:
    first = Lease.take(store, PLACE, "pod a", clock=lambda: 1_800_000_000.0)
    first.check()
    second = Lease.take(store, PLACE, "pod b", clock=lambda: 1_800_000_060.0)
    second.check()
    with pytest.raises(FencedError, match="pod b has taken over this work at 2027-01-15T08:01:00") as told:
        first.check()
    assert told.value.exit_code is ExitCode.INPUT  # Kubernetes does not start it again
    assert told.value.problems[0].fix
    third = Lease.take(store, PLACE, "pod c")
    third.check()
    for fenced in (first, second):
        with pytest.raises(FencedError):
            fenced.check()


def test_of_many_at_once_one_holds(store: Store) -> None:
    with ThreadPoolExecutor(8) as pool:
        leases = list(pool.map(lambda n: Lease.take(store, PLACE, f"pod {n}"), range(8)))
    assert sorted(lease.number for lease in leases) == list(range(1, 9))

    def holds(lease: Lease) -> bool:
        try:
            lease.check()
        except FencedError:
            return False
        return True

    assert [lease.number for lease in leases if holds(lease)] == [8]


def test_parts_of_a_run_are_held_apart(store: Store) -> None:
    one = Lease.take(store, "run/leases/trials/001", "pod a")
    Lease.take(store, "run/leases/trials/002", "pod b")
    Lease.take(store, "run/leases/trials", "pod c")
    one.check()


@pytest.mark.parametrize("content", [b"", b"null", b"{}", b"\xff", b"[1]"])
def test_a_successor_that_cannot_be_read_is_one(store: Store, content: bytes) -> None:
    lease = Lease.take(store, PLACE, "pod a")
    store.write(f"{PLACE}/000002.json", content)
    with pytest.raises(FencedError, match="Another process"):
        lease.check()
    assert Lease.take(store, PLACE, "pod c").number == 3


def test_what_is_no_lease_is_passed_over(store: Store) -> None:
    store.write(f"{PLACE}/notes.txt", b"x")
    store.write(f"{PLACE}/-1.json", b"x")
    assert Lease.take(store, PLACE, "pod a").number == 1


def test_a_store_that_is_away_says_nothing_of_who_holds(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    lease = Lease.take(store, PLACE, "pod a")

    def away(*_: object) -> bytes:
        raise UnavailableError.of("The store is away.", "wait")

    monkeypatch.setattr(type(store), "read", away)
    with pytest.raises(UnavailableError):
        lease.check()


def test_an_answer_that_is_lost_leaves_one_holder(faults: Any, gcs_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_store(gcs_url)
    before = Lease.take(store, PLACE, "pod a")
    listing = store.under

    def then_lose_the_next_answer(prefix: str) -> list[StoredObject]:
        found = listing(prefix)
        faults.spoil("lost", times=1)
        return found

    monkeypatch.setattr(store, "under", then_lose_the_next_answer)
    after = Lease.take(store, PLACE, "pod b")
    assert (faults.spoiled, after.number) == (1, 3)  # it has 2 as well, and does not know it
    after.check()
    with pytest.raises(FencedError, match="pod b"):
        before.check()
