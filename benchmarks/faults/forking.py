"""Python programs as forks: what starts one by subprocess gets a fork that has imported its modules already.

Several ranks would otherwise import the training stack for half a minute in each attempt. A fork is made to look like
a new process where that matters: its own environment, session, default signals, and no file of its parent's.
"""

from __future__ import annotations

import os
import runpy
import signal
import subprocess
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

_FILES = 4096


class _ForkingPopen(subprocess.Popen[Any]):
    """As its base, but for Python programs, which it forks."""

    def _execute_child(self, args: Any, *others: Any) -> None:
        program = [os.fspath(each) for each in args] if isinstance(args, list | tuple) else []
        if not _is_python(program):
            super()._execute_child(args, *others)  # type: ignore[misc]  # typeshed leaves out what is private
            return
        # The order of subprocess in Python 3.11: standard streams and session are what matters here.
        environ, reading, output, errors, session = others[5], others[9], others[12], others[14], others[20]
        self.pid = os.fork()
        if self.pid == 0:
            _become(program, environ, (reading, output, errors), new_session=bool(session))
        self._child_created = True
        self._close_pipe_fds(*others[9:15])  # type: ignore[attr-defined]  # as the base does


def install() -> None:
    """From here on this process and its forks fork Python programs."""
    patched: Any = subprocess
    patched.Popen = _ForkingPopen


def _is_python(program: Sequence[str]) -> bool:
    return bool(program) and (program[0] == sys.executable or Path(program[0]).name == "torchrun")


def _become(program: Sequence[str], environ: Any, streams: tuple[int, int, int], *, new_session: bool) -> None:
    code = 1
    try:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if new_session:
            os.setsid()
        for target, source in enumerate(streams):
            if source >= 0:
                os.dup2(source, target)
        os.closerange(3, _FILES)
        if environ is not None:
            os.environ.clear()
            os.environ.update(environ)
        code = _run(program)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _run(program: Sequence[str]) -> int:
    if Path(program[0]).name == "torchrun":
        arguments = ["-m", "torch.distributed.run", *program[1:]]
    else:
        arguments = [each for each in program[1:] if each != "-u"]
    if arguments[0] == "-m":
        sys.argv = [arguments[1], *arguments[2:]]
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = list(arguments)
        runpy.run_path(arguments[0], run_name="__main__")
    return 0
