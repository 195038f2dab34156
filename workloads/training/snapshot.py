"""What the trainer writes into a checkpoint, taken as a copy in the host's memory and written behind its back.

The copy is the time that the training stands still. Its memory is kept for the next checkpoint: taking new pages from
the system costs as much as writing them to the page cache. Small files are written at once, and so is what cannot be
copied safely: it costs little, or it may change while it is written.
"""

from __future__ import annotations

import json
import os
import re
from collections import OrderedDict
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import torch
from torch import Tensor

LEAST_BYTES = 64 << 20
"""A smaller file is in the page cache before a thread has begun with it."""

_MEMORY_SHARE = 0.5
"""Of the memory that is free on the host, what the copies of a checkpoint may take at most."""
_CHECKPOINT = re.compile(r"checkpoint-\d+")
_PLAIN = (int, float, complex, bool, str, bytes, type(None), torch.dtype, torch.Size)
_KINDS = {
    torch.int64: "I64",
    torch.float64: "F64",
    torch.float32: "F32",
    torch.int32: "I32",
    torch.bfloat16: "BF16",
    torch.float16: "F16",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
"""What safetensors calls a type, in the order of its files."""
FreeMemory = Callable[[], int]
"""Bytes of the host's memory that may be used."""


class Snapshots:
    """Copies of the files of one checkpoint at a time, and the thread that writes them."""

    def __init__(
        self,
        output_dir: Path,
        least_bytes: int = LEAST_BYTES,
        free_memory: FreeMemory | None = None,
    ) -> None:
        """``output_dir`` is the trainer's: only what it writes into the checkpoints there is taken."""
        self._output_dir = output_dir
        self._least_bytes = least_bytes
        self._free_memory = free_memory or free_host_memory
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoint-write")
        self._writes: dict[Path, Future[None]] = {}
        self._pool: dict[tuple[str, int], Tensor] = {}

    def has(self, folder: Path) -> bool:
        """Whether files of this checkpoint were taken; until :meth:`wait` returns they are not all there."""
        return any(path.is_relative_to(folder) for path in self._writes)

    @contextmanager
    def taking(self) -> Iterator[None]:
        """Inside it ``torch.save`` and safetensors' ``save_file`` return before the file is written."""
        import peft.peft_model
        import safetensors.torch
        import transformers.modeling_utils

        save, save_file = torch.save, safetensors.torch.save_file

        def taken_save(value: Any, file: Any, *args: Any, **named: Any) -> None:
            if args or named or not self._take(save, value, file):
                save(value, file, *args, **named)

        def taken_save_file(tensors: Any, filename: Any, metadata: Any = None) -> None:
            if not self._take(lambda copies, path: write_safetensors(copies, path, metadata), tensors, filename):
                save_file(tensors, filename, metadata)

        def replace(save: Any, save_file: Any) -> None:
            torch.save, safetensors.torch.save_file = save, save_file
            peft.peft_model.safe_save_file = transformers.modeling_utils.safe_save_file = save_file

        replace(taken_save, taken_save_file)
        try:
            yield
        finally:
            replace(save, save_file)

    def wait(self) -> None:
        """Waits until all that was taken is written.

        Raises:
            OSError: something could not be written.
        """
        for write in list(self._writes.values()):
            write.result()

    def close(self) -> None:
        """Ends the thread when it has written what it can."""
        self._thread.shutdown(wait=True)

    def _take(self, write: Callable[[Any, Any], None], value: Any, file: Any) -> bool:
        """Whether a copy of ``value`` will be written to ``file`` later."""
        if not isinstance(file, str | os.PathLike):
            return False
        path = Path(file)
        size = _bytes(value) if self._is_ours(path) else None
        if size is None or size < self._least_bytes:
            return False
        if path in self._writes or any(path.parent != other.parent for other in self._writes):
            self.wait()  # the memory that this one needs is still read
            self._writes.clear()
        kept = sum(each.nbytes for (name, _), each in self._pool.items() if name == path.name)
        if size - kept > self._free_memory() * _MEMORY_SHARE:
            return False
        copied = _Copier(self._pool, path.name).copy(value)
        if torch.cuda.is_available():
            torch.cuda.current_stream().synchronize()
        self._writes[path] = self._thread.submit(write, copied, path)
        return True

    def _is_ours(self, path: Path) -> bool:
        if not path.is_relative_to(self._output_dir):
            return False
        return bool(_CHECKPOINT.fullmatch(path.relative_to(self._output_dir).parts[0]))


class _Copier:
    """Copies nested tensors into memory that is used again for the file of the same name."""

    def __init__(self, pool: dict[tuple[str, int], Tensor], name: str) -> None:
        self._pool = pool
        self._name = name
        self._count = 0

    def copy(self, value: Any) -> Any:
        if isinstance(value, Tensor):
            return self._tensor(value)
        if isinstance(value, dict):
            return type(value)((key, self.copy(each)) for key, each in value.items())
        if isinstance(value, list | tuple):
            return type(value)(self.copy(each) for each in value)
        return value

    def _tensor(self, value: Tensor) -> Tensor:
        key = (self._name, self._count)
        self._count += 1
        kept = self._pool.get(key)
        if kept is None or kept.shape != value.shape or kept.dtype != value.dtype:
            kept = torch.empty(value.shape, dtype=value.dtype, pin_memory=value.is_cuda)
            self._pool[key] = kept
        return kept.copy_(value, non_blocking=True)


def _bytes(value: Any) -> int | None:
    """The bytes of all tensors in ``value``; None when something in it cannot be copied as plain data."""
    if type(value) is Tensor:
        is_plain = value.layout is torch.strided and value.dtype in _KINDS and not value.requires_grad
        return value.nbytes if is_plain else None
    if type(value) in {dict, OrderedDict} and not getattr(value, "__dict__", None):
        parts = [_bytes(each) for pair in value.items() for each in pair]
    elif type(value) in {list, tuple}:
        parts = [_bytes(each) for each in value]
    else:
        return 0 if isinstance(value, _PLAIN) else None
    return None if None in parts else sum(part for part in parts if part is not None)


def write_safetensors(tensors: dict[str, Tensor], path: Path, metadata: dict[str, str] | None) -> None:
    """Writes contiguous tensors of the CPU as safetensors does, to the bit, without keeping other threads from running.

    Its ``save_file`` holds the interpreter's lock. The format: https://huggingface.co/docs/safetensors (8 bytes of
    length, a JSON header padded to a multiple of 8, the data); the library orders by type, then by name.
    """
    order = list(_KINDS)
    ordered = sorted(tensors.items(), key=lambda item: (order.index(item[1].dtype), item[0]))
    header: dict[str, Any] = {} if metadata is None else {"__metadata__": metadata}
    end = 0
    for name, tensor in ordered:
        begin, end = end, end + tensor.nbytes
        header[name] = {"dtype": _KINDS[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as stream:
        stream.write(len(text).to_bytes(8, "little") + text)
        for _, tensor in ordered:
            if tensor.nbytes:
                stream.write(memoryview(tensor.reshape(-1).view(torch.uint8).numpy()))


def free_host_memory(control_group: Path = Path("/sys/fs/cgroup")) -> int:
    """Bytes that this process may still take: of the machine, and of its control group (version 2) where it has one."""
    free = int(psutil.virtual_memory().available)
    try:
        limit = int((control_group / "memory.max").read_text())
        used = int((control_group / "memory.current").read_text())
        lines = (control_group / "memory.stat").read_text().splitlines()
        cache = next(int(line.split()[1]) for line in lines if line.startswith("inactive_file "))
    except (OSError, ValueError, StopIteration):  # no group, or no limit: "max"
        return free
    return min(free, limit - used + cache)
