"""Signing in, with a store and a clock of the test's own."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from workloads.errors import UnavailableError
from workloads.training import preflight
from workloads.training.exchange import inside
from workloads.training.preflight import SignIn, gathered
from workloads.training.world import World


class Store(dict[str, bytes]):
    """As much of a torch.distributed store as signing in needs."""

    def set(self, key: str, value: str) -> None:
        self[key] = value.encode()

    def check(self, keys: list[str]) -> bool:
        return all(key in self for key in keys)

    def get(self, key: str) -> bytes:  # type: ignore[override]
        return self[key]


def _sign_in(store: Store, count: int, *, arrives_at: dict[int, float]) -> SignIn:
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds
        for number, when in arrives_at.items():
            if now[0] >= when:
                store.set(f"ranks/{number}", f"host-{number}")

    return SignIn(store, "ranks", count, clock=lambda: now[0], sleep=sleep)


def test_who_comes_in_time_is_not_missing() -> None:
    gathering = _sign_in(Store(), 3, arrives_at={1: 2.0, 2: 9.0})
    gathering.arrive(0, "host-0")
    assert gathering.missing(10) == []
    assert gathering.said(2) == "host-2"


def test_who_comes_too_late_is_missing() -> None:
    gathering = _sign_in(Store(), 4, arrives_at={1: 2.0, 3: 11.0})
    gathering.arrive(0, "host-0")
    assert gathering.missing(10) == [2, 3]
    assert gathering.said(2) is None


def test_when_enough_are_there_the_others_get_a_last_call() -> None:
    gathering = _sign_in(Store(), 4, arrives_at={1: 2.0, 3: 4.0, 2: 9.0})
    gathering.arrive(0, "host-0")
    assert gathering.missing(100, enough=2, last_call=5) == [2]
    gathering = _sign_in(Store(), 2, arrives_at={})
    gathering.arrive(0, "host-0")
    assert gathering.missing(10, enough=2, last_call=5) == [1]


def test_an_elastic_training_begins_with_the_nodes_that_came() -> None:
    store = Store({"nodes/2": b"gpu-2"})
    elastic = World(4, 3, 0, "a", 1, least_nodes=2, last_call=0)
    assert gathered(store, elastic) == replace(elastic, nodes=2, least_nodes=None)
    assert gathered(store, replace(elastic, node_rank=2)) == replace(elastic, nodes=2, node_rank=1, least_nodes=None)
    with pytest.raises(UnavailableError, match="begun without node 1"):
        gathered(store, replace(elastic, node_rank=1))


def test_too_few_nodes_for_an_elastic_training_are_named() -> None:
    with pytest.raises(UnavailableError, match=r"Of 3 nodes, nodes 1, 2 did not arrive"):
        gathered(Store(), World(1, 3, 0, "a", 1, least_nodes=2, last_call=0), 0)


def test_an_absent_rank_is_named_with_its_node() -> None:
    hosts = SignIn(Store({"nodes/1": b"gpu-7"}), "nodes", 3)
    error = preflight._absent("did not start", [2, 3, 4], 30, hosts, 2)
    assert isinstance(error, UnavailableError)
    message = error.problems[0].message
    assert message == "Ranks 2, 3, 4 on node 1 (gpu-7), node 2 (unknown) did not start within 30 s."


def test_a_file_of_another_node_stays_in_its_folder() -> None:
    assert inside("global_step8/rng_state_1.pth") == Path("global_step8/rng_state_1.pth")
    for name in ("../x", "/etc/x", "a/../../x", ""):
        with pytest.raises(ValueError, match="outside"):
            inside(name)


def test_a_rank_that_signs_in_and_then_hangs_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch.distributed as dist

    monkeypatch.setattr(preflight, "SUM_SECONDS", 0.6)
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    store.set("ranks/1", "gpu-7")
    store.set("hosts/1", "gpu-7")
    with pytest.raises(UnavailableError, match=r"Rank 1 on node 1 \(gpu-7\) took no part in a sum"):
        preflight.join(store, rank=0, size=2, nodes=2, timeout=timedelta(minutes=30))
    assert not dist.is_initialized()
