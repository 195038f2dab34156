"""``make bench-hub``: models to and from Artifactory, against ``hf download`` and ``curl`` in turn on the same machine.

A server of the tests plays Artifactory over loopback, in a process of its own. Prints a table and writes
benchmarks/results/hub.json. Single times depend on the machine and its disk; ratios travel.

tunery ends when what it fetched would survive a power cut; the other two leave that to the system. So a download is
timed until its command ends, until its files are on the disk whoever brought them, and on a disk in memory.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from benchmarks.report import Row, report

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent
RESULTS = Path(__file__).parent / "results" / "hub.json"
TUNERY, HF = str(BIN / "tunery"), str(BIN / "hf")
MODEL, REPOSITORY = "org/model", "huggingface"
SHARD, SHARDS, ROUNDS, AT_ONCE = 128 << 20, 16, 6, 8
MEMORY_DISK = Path("/dev/shm")  # noqa: S108 Linux has a file system in memory there
_PART = 16 << 20


@dataclass(frozen=True)
class Used:
    """What a command took: seconds of wall time and of processors, and its peak memory in MB.

    Attributes:
        durable: seconds until the files that it brought were on the disk.
    """

    wall: float
    cpu: float
    memory: float
    durable: float


def measured(command: Sequence[str], env: Mapping[str, str], given: str = "", brought: Path | None = None) -> Used:
    """Runs a command to its end; what is still to be written of earlier ones is written first.

    Args:
        brought: the folder that the command fills.
    """
    os.sync()
    started = time.perf_counter()
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(
            command, env=env, cwd=ROOT, stdin=subprocess.PIPE, stdout=said, stderr=said, text=True
        )
        assert process.stdin is not None  # noqa: S101 it was asked for
        process.stdin.write(given)
        process.stdin.close()
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            said.seek(0)
            raise SystemExit(f"{' '.join(command)} ended with {process.returncode}:\n{said.read()[-2000:]}")
    if brought is not None:
        flush(brought)
    durable = time.perf_counter() - started
    return Used(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1000, durable)


def flush(folder: Path) -> None:
    """Returns when the files of a folder are on the disk."""
    for file in folder.rglob("*"):
        if file.is_file():
            descriptor = os.open(file, os.O_RDONLY)
            os.fsync(descriptor)
            os.close(descriptor)


def write_shard(path: Path) -> None:
    """A whole safetensors file with one tensor of random bytes."""
    tensor = {"dtype": "U8", "shape": [SHARD], "data_offsets": [0, SHARD]}
    header = json.dumps({path.stem: tensor}).encode()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(header)) + header)
        for _ in range(SHARD // _PART):
            file.write(os.urandom(_PART))


def make_model(folder: Path) -> list[Path]:
    """2 GB of random weights in shards, and the small files of a model."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": "llama", "architectures": ["LlamaForCausalLM"]}))
    (folder / "tokenizer.json").write_text("{}")
    (folder / "tokenizer_config.json").write_text("{}")
    names = [f"model-{number:05}-of-{SHARDS:05}.safetensors" for number in range(1, SHARDS + 1)]
    for name in names:
        write_shard(folder / name)
    index = {"metadata": {"total_size": SHARD * SHARDS}, "weight_map": {Path(name).stem: name for name in names}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return sorted(folder.iterdir())


def _serve(connection: Connection, folder: Path, scratch: Path) -> None:
    """Plays Artifactory until told to end; answers every other message with the bytes it sent and received so far."""
    tempfile.tempdir = str(scratch)  # on the disk of the model, whose files it takes by hard link
    sys.path.insert(0, str(ROOT / "tests"))
    from artifactory import FakeArtifactory

    with FakeArtifactory() as server:
        server.put_model(REPOSITORY, MODEL, folder, link=True)
        connection.send((server.url, server.token("read deploy annotate")))
        while connection.recv() != "end":
            connection.send((server.bytes_sent, server.bytes_received))


@dataclass(frozen=True)
class Server:
    """The server in its process."""

    url: str
    token: str
    connection: Connection

    def bytes(self) -> tuple[int, int]:
        """Bytes it has sent, and received."""
        self.connection.send("bytes")
        sent, received = self.connection.recv()
        return int(sent), int(received)

    def environment(self, scratch: Path) -> dict[str, str]:
        """The variables of tunery and of the Hugging Face client."""
        ours = {"TUNERY_ARTIFACTORY_URL": self.url, "TUNERY_ARTIFACTORY_TOKEN": self.token}
        ours |= {"TUNERY_ARTIFACTORY_MODELS": REPOSITORY, "TUNERY_ARTIFACTORY_PUBLISHED": "published"}
        ours |= {"TUNERY_CACHE": str(scratch / "cache")}
        theirs = {"HF_ENDPOINT": f"{self.url}/api/huggingfaceml/{REPOSITORY}", "HF_TOKEN": self.token}
        theirs |= {"HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HOME": str(scratch / "hf")}
        kept = {name: value for name, value in os.environ.items() if "OFFLINE" not in name}
        return kept | ours | theirs | {"NO_PROXY": "127.0.0.1,localhost"}


@contextmanager
def serving(folder: Path, scratch: Path) -> Iterator[Server]:
    """A server that has the model."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_serve, args=(theirs, folder, scratch))
    process.start()
    url, token = ours.recv()
    try:
        yield Server(url, token, ours)
    finally:
        ours.send("end")
        process.join()


Downloads = dict[str, list[Used]]
"""Program -> what each of its rounds took."""


def downloads(server: Server, files: Sequence[Path], scratch: Path, env: dict[str, str], rounds: int) -> Downloads:
    """The whole model by tunery, by ``hf download`` and by one curl, in turn."""
    out = scratch / "out"
    base = f"{server.url}/api/huggingfaceml/{REPOSITORY}/{MODEL}/resolve/main"
    lines = [f'header = "Authorization: Bearer {server.token}"']
    lines += [f'url = "{base}/{file.name}"\noutput = "{out / file.name}"' for file in files]
    commands = {
        "tunery": ([TUNERY, "fetch", MODEL], "", scratch / "cache"),
        "hf": ([HF, "download", MODEL, "--local-dir", str(out)], "", out),
        "curl": (["curl", "-sSf", "-K", "-"], "\n".join(lines), out),
    }
    found: Downloads = {name: [] for name in commands}
    for number in range(rounds):
        # Each goes first in its turn: a disk is slower after a write than before one.
        order = [*commands][number % len(commands) :] + [*commands][: number % len(commands)]
        for name in order:
            command, given, brought = commands[name]
            for folder in (out, scratch / "cache", scratch / "hf"):
                shutil.rmtree(folder, ignore_errors=True)
            out.mkdir()
            found[name].append(measured(command, env, given, brought))
    for folder in (out, scratch / "cache", scratch / "hf"):
        shutil.rmtree(folder, ignore_errors=True)
    return found


def _median(found: Downloads, name: str, field: str) -> float:
    return float(statistics.median(getattr(used, field) for used in found[name]))


def compared(found: Downloads, field: str, where: str) -> list[Row]:
    """The times of the three programs: medians, and the round that was the worst for tunery against hf download."""
    ours, hf, curl = (_median(found, name, field) for name in ("tunery", "hf", "curl"))
    rounds = [(getattr(a, field), getattr(b, field)) for a, b in zip(found["tunery"], found["hf"], strict=True)]
    mine, theirs = max(rounds, key=lambda pair: pair[0] / pair[1])
    return [
        Row(f"download{where}, against hf download", ours, hf, "s", "1.5 times faster", hf / ours >= 1.5),
        Row(f"worst of {len(rounds)} rounds{where}, against hf", mine, theirs, "s", "not slower", mine <= theirs),
        Row(f"download{where}, against curl", ours, curl, "s", "at least 0.8 times", curl / ours >= 0.8),
    ]


def spent(found: Downloads) -> list[Row]:
    """Processor time and memory."""
    cpu, theirs = (_median(found, name, "cpu") for name in ("tunery", "hf"))
    memory, plain = (_median(found, name, "memory") for name in ("tunery", "hf"))
    return [
        Row("processor time, against hf download", cpu, theirs, "s", "no more", cpu <= theirs),
        Row("peak memory, against hf download", memory, plain, "MB", "under 150", memory < 150),
    ]


def in_memory() -> list[Row]:
    """The downloads on a disk in memory, where no disk is waited for; nothing where there is no room for one."""
    if not MEMORY_DISK.is_dir() or shutil.disk_usage(MEMORY_DISK).free < 4 * SHARD * SHARDS:
        return []
    with tempfile.TemporaryDirectory(prefix="tunery-bench-", dir=MEMORY_DISK) as name:
        scratch = Path(name)
        files = make_model(scratch / "model")
        with serving(scratch / "model", scratch) as server:
            found = downloads(server, files, scratch, server.environment(scratch), ROUNDS // 2)
    return compared(found, "wall", " (memory)")


def cached_again(server: Server, scratch: Path, env: dict[str, str]) -> list[Row]:
    """The same model once more, when it is in the cache."""
    shutil.rmtree(scratch / "cache", ignore_errors=True)
    measured([TUNERY, "fetch", MODEL], env)
    before = server.bytes()[0]
    seconds = statistics.median(measured([TUNERY, "fetch", MODEL], env).wall for _ in range(5))
    moved = (server.bytes()[0] - before) / 5 / 1e6
    return [
        Row("fetch of what is in the cache", seconds, None, "s", "at most 0.2", seconds <= 0.2),
        Row("bytes moved for it", moved, None, "MB", "under 0.1", moved < 0.1),
    ]


def second_version(server: Server, folder: Path, env: dict[str, str]) -> list[Row]:
    """A version of which one shard in sixteen is new."""
    size = sum(file.stat().st_size for file in folder.iterdir())
    first = measured([TUNERY, "import", str(folder), "bench"], env)
    new = folder / f"model-{SHARDS:05}-of-{SHARDS:05}.safetensors"
    new.unlink()
    write_shard(new)
    before = server.bytes()[1]
    second = measured([TUNERY, "import", str(folder), "bench"], env)
    share = (server.bytes()[1] - before) / size
    return [
        Row("second version: bytes sent", share * 100, None, "%", "under 10", share < 0.1),
        Row("second version, against the first", second.wall, first.wall, "s", "faster", second.wall < first.wall),
    ]


def together(server: Server, size: int, scratch: Path, env: dict[str, str]) -> list[Row]:
    """Processes that want one model at one time, with one cache."""
    shutil.rmtree(scratch / "cache", ignore_errors=True)
    before = server.bytes()[0]
    command, quiet = [TUNERY, "fetch", MODEL], subprocess.DEVNULL
    wanting = [subprocess.Popen(command, env=env, cwd=ROOT, stdout=quiet, stderr=quiet) for _ in range(AT_ONCE)]
    codes = [process.wait() for process in wanting]
    copies = (server.bytes()[0] - before) / size
    met = not any(codes) and copies <= 1.01
    return [Row(f"{AT_ONCE} processes at once: copies served", copies, None, "", "at most 1.01", met)]


def main() -> int:
    """Measures, prints and writes; the exit code says whether every goal is met."""
    with tempfile.TemporaryDirectory(prefix="tunery-bench-") as name:
        scratch = Path(name)
        files = make_model(scratch / "model")
        size = sum(file.stat().st_size for file in files)
        with serving(scratch / "model", scratch) as server:
            env = server.environment(scratch)
            found = downloads(server, files, scratch, env, ROUNDS)
            rows = compared(found, "wall", "") + compared(found, "durable", " (flushed)") + spent(found)
            rows += cached_again(server, scratch, env)
            rows += together(server, size, scratch, env) + second_version(server, scratch / "model", env)
    return report(rows + in_memory(), RESULTS)


if __name__ == "__main__":
    sys.exit(main())
