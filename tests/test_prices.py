from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from workloads import platform, prices
from workloads.errors import InputError
from workloads.prices import Cost, PriceList


@pytest.fixture
def price_list(repository: Path) -> PriceList:
    return prices.load(repository / "configs" / "prices.json")


def _pool(**changes: Any) -> platform.Pool:
    values: dict[str, Any] = {
        "machine": "g2-standard-8",
        "cpus": 8,
        "memory_gb": 32,
        "gpus": 1,
        "accelerator": "nvidia-l4",
        "scratch_gb": 375,
        "disk_gb": 100,
        "capacity": ("spot",),
        "reservation": None,
        "min": 0,
        "max": 1,
        "zones": ("us-central1-a",),
        "compute_class": "l4x1",
        "queue": "l4x1",
    }
    return platform.Pool(**(values | changes))


def test_a_node_costs_what_google_lists_for_its_machine_and_its_disks(price_list: PriceList) -> None:
    bare = price_list.node_hour(_pool(scratch_gb=0, disk_gb=0), "us-central1", "on-demand")
    assert bare is not None
    assert bare.expected == pytest.approx(0.8536, abs=1e-4)  # g2-standard-8 in us-central1, Google's list
    whole = price_list.node_hour(_pool(), "us-central1", "on-demand")
    assert whole is not None
    assert whole.expected - bare.expected == pytest.approx((375 * 0.08 + 100 * 0.10) / 730)
    cpu = _pool(machine="e2-standard-4", cpus=4, gpus=0, accelerator=None, scratch_gb=0, disk_gb=0)
    found = price_list.node_hour(cpu, "us-central1", "on-demand")
    assert found is not None
    assert found.expected == pytest.approx(0.1340, abs=1e-4)  # e2-standard-4


def test_the_cheaper_the_less_certain(price_list: PriceList) -> None:
    by_capacity = {
        capacity: price_list.node_hour(_pool(), "europe-west4", capacity)
        for capacity in ("spot", "flex-start", "on-demand", "reservation")
    }
    spot, flex, full, reserved = by_capacity.values()
    assert spot is not None
    assert flex is not None
    assert full is not None
    assert spot.expected < flex.expected < full.expected
    assert full.low == full.high
    assert full == reserved
    assert flex.high == pytest.approx(full.expected)
    assert not flex.verified


@pytest.mark.parametrize(
    ("pool", "region"),
    [
        (_pool(), "mars-north1"),
        (_pool(machine="c4-standard-8"), "europe-west4"),
        (_pool(accelerator="nvidia-b200"), "europe-west4"),
    ],
)
def test_a_node_without_a_price_costs_nothing_known(price_list: PriceList, pool: platform.Pool, region: str) -> None:
    assert price_list.node_hour(pool, region, "spot") is None


def test_the_list_has_a_price_of_every_machine_that_the_environments_use(
    repository: Path, price_list: PriceList
) -> None:
    folder = repository / "configs" / "platform"
    for name in platform.environments(folder):
        found = platform.load(name, folder)
        assert price_list.node_hour(found.system, found.region, "on-demand") is not None
        for pool in found.pools.values():
            assert None not in [price_list.node_hour(pool, found.region, capacity) for capacity in pool.capacity]


def test_every_price_names_a_dated_source_and_spot_never_costs_more(price_list: PriceList) -> None:
    used = {price_list.flex_start.source}
    used |= {getattr(price_list.everywhere, name).source for name in type(price_list.everywhere).model_fields}
    for region in price_list.regions.values():
        parts = [*region.machines.values(), *region.accelerators.values()]
        assert all(part.spot.high < part.on_demand for part in parts)
        used |= {part.source for part in parts} | {region.disk_gb.source, region.object_gb.source}
        used |= {region.local_ssd_gb.source, region.local_ssd_spot_gb.source}
    assert used == set(price_list.sources)
    assert all(source.date > date(2025, 1, 1) for source in price_list.sources.values())


def test_sums_keep_sources_and_doubts() -> None:
    sure, unsure = Cost(1, 1, 1, frozenset("a")), Cost(1, 2, 3, frozenset("b"), verified=False)
    assert (sure + unsure) * 2 == Cost(4, 6, 8, frozenset("ab"), verified=False)
    assert sure + Cost.zero() == sure


def test_a_wrong_list_is_refused_with_every_key(repository: Path, tmp_path: Path) -> None:
    values = json.loads((repository / "configs" / "prices.json").read_text(encoding="utf-8"))
    values["everywhere"]["cluster"]["price"] = -1
    values["regions"]["europe-west4"]["machines"]["g2-standard"]["spot"]["low"] = 9
    path = tmp_path / "prices.json"
    path.write_text(json.dumps(values))
    with pytest.raises(InputError) as refusal:
        prices.load(path)
    assert {problem.key for problem in refusal.value.problems} == {
        "everywhere.cluster.price",
        "regions.europe-west4.machines.g2-standard.spot",
    }
    with pytest.raises(InputError, match="no readable JSON"):
        prices.load(tmp_path / "absent.json")


def test_the_list_is_the_one_that_the_environment_names(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (repository / "configs" / "prices.json").read_text(encoding="utf-8")
    (tmp_path / "ours.json").write_text(text.replace('"currency": "USD"', '"currency": "EUR"'))
    monkeypatch.setenv("TUNERY_PRICES", str(tmp_path / "ours.json"))
    assert prices.load().currency == "EUR"
