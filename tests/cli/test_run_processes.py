"""``tunery run --nproc`` and ``--nnodes``: which processes train."""

from collections.abc import Callable
from typing import Any

import pytest

from workloads.cli import run as verb
from workloads.engines.local import Execution
from workloads.runtime import RunPaths
from workloads.training.world import World


@pytest.fixture
def trains_with(make_run: Callable[..., RunPaths], monkeypatch: pytest.MonkeyPatch) -> Callable[..., World | None]:
    worlds: list[World | None] = []

    def execute(paths: RunPaths, *, quiet: bool, world: World | None = None) -> dict[str, Any]:
        worlds.append(world)
        return {}

    monkeypatch.setattr(verb, "execute", execute)

    def ask(**options: int | str) -> World | None:
        verb.run(resume=str(make_run().root), as_json=True, **options)  # type: ignore[arg-type]
        return worlds[-1]

    return ask


def test_processes_and_machines_become_a_world(trains_with: Callable[..., World | None]) -> None:
    assert trains_with() is None
    assert trains_with(nproc=2) == World(2)
    second = trains_with(nproc=2, nnodes="3", node_rank=1, master_addr="a", master_port=4000)
    assert second == World(2, 3, 1, "a", 4000)
    elastic = trains_with(nnodes="2:4", master_port=4000, last_call=5)
    assert elastic == World(1, 4, port=4000, least_nodes=2, last_call=5)


def test_the_stages_process_is_told(make_run: Callable[..., RunPaths], monkeypatch: pytest.MonkeyPatch) -> None:
    paths, told = make_run(), dict[str, str]()

    def popen(_command: list[str], *, env: dict[str, str], **_: Any) -> None:
        told.update(env)

    monkeypatch.setattr("workloads.engines.local.subprocess.Popen", popen)
    Execution(paths, World(2, 2, 1, "a", 4000))
    assert World.from_environment(told) == World(2, 2, 1, "a", 4000)
