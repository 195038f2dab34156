import errno

import pytest

from workloads.errors import InputError, TuneryError, UnavailableError
from workloads.stages.failures import explain


class OutOfMemoryError(RuntimeError):
    """Named as torch's."""


@pytest.mark.parametrize(
    ("error", "kind", "says"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), UnavailableError, "disk became full"),
        (OSError(errno.EROFS, "Read-only file system"), UnavailableError, "may not write"),
        (PermissionError(errno.EACCES, "Permission denied"), UnavailableError, "may not write"),
        (OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), InputError, "Memory was too small"),
        (MemoryError(), InputError, "Memory was too small"),
        (RuntimeError("Some tensors share memory, this will lead to"), InputError, "embeddings are tied"),
        (KeyError("x"), TuneryError, "train failed: KeyError"),
        (RuntimeError(), TuneryError, "train failed: RuntimeError"),
    ],
)
def test_what_the_training_stack_raises_gets_an_exit_code_and_a_way_out(
    error: Exception, kind: type[TuneryError], says: str
) -> None:
    explained = explain(error, "train")
    assert type(explained) is kind
    assert says in str(explained)
    assert all(problem.fix for problem in explained.problems)
