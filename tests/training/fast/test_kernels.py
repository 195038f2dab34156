"""The Triton kernels agree with plain torch in Triton's interpreter, and compile for an H100 without one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton", reason="triton comes with torch's CUDA builds for Linux")


def test_kernels_agree_with_their_references() -> None:
    cases = str(Path(__file__).with_name("kernel_cases.py"))
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", cases],
        env={**os.environ, "TRITON_INTERPRET": "1"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


_COMPILE = """
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from workloads.training.fast import kernels

POINTERS = {"x", "weight", "out", "grad", "residual", "qkv", "cos", "sin", "query_norm", "key_norm", "norm", "gate_up",
            "active"}
CONSTANTS = {"block": 4096, "heads": 32, "total": 40, "half": 64, "normed": True, "turned": True, "head_block": 16,
             "half_block": 64, "with_active": True, "row_block": 32, "column_block": 128}
for name, kernel in vars(kernels).items():
    if not name.endswith("_kernel"):
        continue
    constants = {k: CONSTANTS[k] for k in kernel.arg_names if k in CONSTANTS}
    signature = {}
    for argument in kernel.arg_names:
        if argument in constants:
            signature[argument] = "constexpr"
        elif argument == "inverse":
            signature[argument] = "*fp32"
        elif argument == "eps":
            signature[argument] = "fp32"
        else:
            signature[argument] = "*bf16" if argument in POINTERS else "i32"
    binary = triton.compile(ASTSource(kernel, signature, constants), target=GPUTarget("cuda", 90, 32))
    print(name, len(binary.asm["cubin"]), binary.metadata.shared)
"""


def test_kernels_compile_for_an_h100() -> None:
    environment = {key: value for key, value in os.environ.items() if key != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, "-c", _COMPILE], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 6, done.stdout
