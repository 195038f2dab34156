"""Folders that look like models, hubs to put them in, and processes that are killed half way."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from artifactory.server import FakeArtifactory

from workloads.hub.artifactory import ArtifactoryHub
from workloads.hub.directory import DirectoryHub
from workloads.hub.tokens import TokenSource
from workloads.hub.transport import Transport

MakeFolder = Callable[[Mapping[str, bytes]], Path]
_BOUNDARIES = ("chmod", "fchmod", "fsync", "replace")


@pytest.fixture
def hub(tmp_path: Path) -> DirectoryHub:
    return DirectoryHub(tmp_path / "hub")


@pytest.fixture
def make_folder(tmp_path: Path) -> MakeFolder:
    """Writes files into a new folder and gives it."""
    numbers: Iterator[int] = iter(range(1000))

    def make(files: Mapping[str, bytes]) -> Path:
        folder = tmp_path / f"folder-{next(numbers)}"
        folder.mkdir()
        for name, content in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
        return folder

    return make


@pytest.fixture
def safetensors() -> bytes:
    """A whole safetensors file with one tensor of two floats."""
    header = json.dumps({"weight": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}).encode()
    return struct.pack("<Q", len(header)) + header + bytes(8)


@pytest.fixture
def killed_before() -> Callable[[int, Callable[[], object]], bool]:
    """Runs an action in a process that dies before its n-th step that changes the disk.

    Gives False when the action had fewer steps and so went through. The process dies as from SIGKILL: no handler and
    no ``finally`` runs.
    """

    def run(steps: int, action: Callable[[], object]) -> bool:
        child = os.fork()
        if child == 0:
            left = steps

            def counted(call: Callable[..., object]) -> Callable[..., object]:
                def step(*arguments: object, **options: object) -> object:
                    nonlocal left
                    left -= 1
                    if left < 0:
                        os._exit(9)
                    return call(*arguments, **options)

                return step

            try:
                for name in _BOUNDARIES:
                    setattr(os, name, counted(getattr(os, name)))
                action()
            except BaseException:
                os._exit(1)
            os._exit(0)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        assert code in (0, 9), "the action failed by itself"
        return code == 9

    return run


@pytest.fixture
def at_once() -> Callable[..., None]:
    """Runs actions in processes of their own, started together; each must succeed."""
    import multiprocessing

    context = multiprocessing.get_context("fork")

    def run(*actions: Callable[[], object]) -> None:
        together = context.Barrier(len(actions))

        def start(action: Callable[[], object]) -> None:
            together.wait()
            action()

        processes = [context.Process(target=start, args=(action,)) for action in actions]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
        assert [process.exitcode for process in processes] == [0] * len(actions)

    return run


@pytest.fixture
def artifactory() -> Iterator[FakeArtifactory]:
    """An Artifactory on loopback with the repositories ``huggingface`` and ``published``."""
    with FakeArtifactory() as server:
        yield server


@pytest.fixture
def pauses() -> list[float]:
    """The seconds that requests to Artifactory would have waited before another attempt."""
    return []


OpenArtifactory = Callable[..., ArtifactoryHub]


@pytest.fixture
def open_artifactory(pauses: list[float]) -> OpenArtifactory:
    """Opens a hub in a fake Artifactory; it never sleeps, and takes half a second of silence for a stall."""

    def opened(
        server: FakeArtifactory, token: str | None = None, *, allow_pickle: bool = False, **environ: str
    ) -> ArtifactoryHub:
        given = {"TUNERY_ARTIFACTORY_TOKEN": server.token("read annotate deploy delete") if token is None else token}
        transport = Transport(server.url, TokenSource(given), timeout=0.5, sleep=pauses.append)
        return ArtifactoryHub(
            server.url, "huggingface", "published", environ=environ, allow_pickle=allow_pickle, transport=transport
        )

    return opened
