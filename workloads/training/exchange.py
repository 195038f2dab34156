"""A folder sent from one rank to another, for nodes that share no disk."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any

_CHUNK = 16 << 20


def send_folder(folder: Path, to: int, group: Any) -> None:
    """Sends every file of ``folder`` to rank ``to``; a folder that is not there is empty."""
    import numpy
    import torch
    import torch.distributed as dist

    files = sorted(path for path in folder.rglob("*") if path.is_file()) if folder.is_dir() else []
    sizes = [(path.relative_to(folder).as_posix(), path.stat().st_size) for path in files]
    dist.send_object_list([sizes], dst=to, group=group)
    for path, (_, size) in zip(files, sizes, strict=True):
        with path.open("rb") as stream:
            for start in range(0, size, _CHUNK):
                chunk = numpy.frombuffer(stream.read(min(_CHUNK, size - start)), dtype=numpy.uint8)
                dist.send(torch.from_numpy(chunk.copy()), dst=to, group=group)


def receive_folder(folder: Path, source: int, group: Any) -> None:
    """Writes what rank ``source`` sends below ``folder``, beside what is there.

    Raises:
        ValueError: it names a path outside the folder.
    """
    import torch
    import torch.distributed as dist

    received: list[Any] = [None]
    dist.recv_object_list(received, src=source, group=group)
    sizes: list[tuple[str, int]] = received[0]
    for name, size in sizes:
        path = folder / inside(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as stream:
            for start in range(0, size, _CHUNK):
                chunk = torch.empty(min(_CHUNK, size - start), dtype=torch.uint8)
                dist.recv(chunk, src=source, group=group)
                stream.write(chunk.numpy().tobytes())


def inside(name: str) -> PurePosixPath:
    """The relative path ``name``; raises ValueError when it leads out of its folder."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise ValueError(f"a path outside its folder: {name!r}")
    return path
