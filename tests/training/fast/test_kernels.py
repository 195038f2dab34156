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
from workloads.training.fast import factor_kernel, gated_kernels, head_kernel, kernels, short_attention

FLOATS = {"losses", "part", "scales", "source_like", "inverse", "total", "mean", "part_a", "part_b"}
COUNTS = {"first", "last", "targets"}
NUMBERS = {"stride", "vocabulary", "rows", "columns", "width", "tokens", "slab", "first_head"}
CONSTANTS = {"block": 4096, "heads": 32, "kv_heads": 8, "group": 4, "total": 40, "half": 64, "normed": True,
             "turned": True, "head_block": 16, "half_block": 64, "row_block": 32, "column_block": 64, "dim": 128,
             "rank_a": 16, "rank_b": 16, "learning": True, "rank": 16, "pad": 64, "parts": 8}
for module in (factor_kernel, gated_kernels, head_kernel, kernels, short_attention):
    for name, kernel in vars(module).items():
        if not name.endswith("_kernel"):
            continue
        constants = {p.name: CONSTANTS[p.name] for p in kernel.params if p.is_constexpr}
        signature = {}
        for argument in kernel.arg_names:
            if argument in constants:
                signature[argument] = "constexpr"
            elif argument in FLOATS:
                signature[argument] = "*fp32"
            elif argument == "table":
                signature[argument] = "*i64"
            elif argument in COUNTS:
                signature[argument] = "*i32"
            elif argument in NUMBERS or argument.endswith("_stride"):
                signature[argument] = "i32"
            else:
                signature[argument] = "fp32" if argument in {"eps", "scale", "scale_back"} else "*bf16"
        binary = triton.compile(ASTSource(kernel, signature, constants), target=GPUTarget("cuda", 90, 32))
        print(name, len(binary.asm["cubin"]))
"""


def test_kernels_compile_for_an_h100() -> None:
    environment = {key: value for key, value in os.environ.items() if key != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, "-c", _COMPILE], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 14, done.stdout
