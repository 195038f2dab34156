"""What `tunery doctor` finds, with drivers that say what real ones say, and a real HTTP server for Artifactory."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest
from artifactory.server import FakeArtifactory
from hypothesis import given
from hypothesis import strategies as st

from workloads import doctor, doctor_gpu
from workloads.cli.main import main
from workloads.errors import ExitCode, InputError, Problem, UnavailableError

L4 = "0, NVIDIA L4, 550.90.07, 23034, 22563, 8.9, 0"
Driver = Callable[..., dict[str, str]]


@pytest.fixture
def driver(tmp_path: Path) -> Driver:
    """Variables that lead to a driver's program which prints these rows and leaves with this code."""

    def make(*rows: str, code: int = 0) -> dict[str, str]:
        folder = tmp_path / "driver"
        folder.mkdir(exist_ok=True)
        (folder / "rows").write_text("".join(f"{row}\n" for row in rows))
        program = folder / "nvidia-smi"
        program.write_text(f"#!/bin/sh\ncat {folder}/rows\nexit {code}\n")
        program.chmod(0o755)
        return {"PATH": f"{folder}:/usr/bin:/bin", "TUNERY_SCRATCH": str(tmp_path), "TUNERY_CACHE": str(tmp_path)}

    return make


def problems(found: list[doctor.Finding]) -> list[str]:
    return [each.problem.message for each in found if each.problem is not None]


def code_of(found: list[doctor.Finding]) -> int:
    error = doctor.failure(found)
    return 0 if error is None else int(error.exit_code)


def test_a_good_gpu(driver: Driver) -> None:
    found = list(doctor.gpus({**driver(L4), "TUNERY_GPUS": "1"}))
    assert code_of(found) == 0
    texts = {each.what: each.found for each in found}
    assert texts["driver"] == "550.90.07"
    assert texts["GPU 0"] == "NVIDIA L4, compute capability 8.9, 22,563 of 23,034 MiB free"


@pytest.mark.parametrize(
    ("rows", "code", "said"),
    [
        ([L4.replace("550.90.07", "470.256.02")], 69, "470.256.02 is too old for CUDA 12"),
        ([L4[:-1] + "3"], 69, "GPU 0 has lost 3 values"),
        ([L4.replace("22563", "1200")], 0, "only 1,200 are free"),
        ([], 69, "promised 2 GPUs, and the driver has no GPU"),
        ([L4], 69, "promised 2 GPUs and sees 1"),
    ],
)
def test_gpus_that_will_not_do(driver: Driver, rows: list[str], code: int, said: str) -> None:
    found = list(doctor.gpus({**driver(*rows), "TUNERY_GPUS": "2" if not rows or code == 69 else "1"}))
    assert any(said in message for message in problems(found)), problems(found)
    assert code_of(found) == code


def test_a_driver_that_fails_is_quoted(driver: Driver) -> None:
    environ = {**driver("Failed to initialize NVML: Driver/library version mismatch", code=18), "TUNERY_GPUS": "1"}
    found = list(doctor.gpus(environ))
    assert "the driver reports: Failed to initialize NVML: Driver/library version mismatch" in problems(found)[0]
    assert code_of(found) == 69


def test_no_driver_is_no_problem_where_no_gpu_was_promised(tmp_path: Path) -> None:
    assert code_of(list(doctor.gpus({"PATH": str(tmp_path)}))) == 0
    assert list(doctor.gpus({"PATH": str(tmp_path)}, only_expected=True)) == []
    lost = list(doctor.gpus({"PATH": str(tmp_path), "TUNERY_GPUS": "1"}))
    assert code_of(lost) == 69


@given(st.text())
def test_whatever_a_driver_prints_is_read(text: str) -> None:
    for gpu in doctor_gpu.parse(text):
        assert gpu.text
        assert gpu.problem is None or gpu.problem.fix


def test_what_a_gpu_does_not_know_counts_as_none() -> None:
    (gpu,) = doctor_gpu.parse("0, NVIDIA L4, 550.90.07, 23034, 22563, 8.9, [N/A]\n")
    assert gpu.uncorrected == 0
    assert doctor_gpu.parse("nothing of the kind\n") == ()


@pytest.mark.parametrize(
    ("version", "cuda", "old"),
    [
        ("525.60.13", "12.8.90", False),
        ("525.60.12", "12.8.90", True),
        ("570.26", "13.0.88", True),
        ("580.65.06", "13.0.88", False),
        ("470.1", None, False),
    ],
)
def test_the_oldest_driver_of_each_cuda(version: str, cuda: str | None, old: bool) -> None:
    assert (doctor_gpu.driver_problem(version, cuda) is not None) is old


def test_an_image_without_its_packages_is_wrong_for_good(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(doctor.REQUIRED, "trainer", ("torch", "no-such-package"))
    monkeypatch.setattr(doctor, "_SHOWN", ("torch", "no-such-package"))
    found = list(doctor.packages({"TUNERY_IMAGE": "trainer"}))
    assert problems(found) == ["The image trainer has no no-such-package."]
    assert code_of(found) == 64
    assert code_of(list(doctor.packages({}))) == 0


def test_what_is_wrong_for_good_outweighs_what_may_pass() -> None:
    passing = doctor.Finding("a", "", Problem("no answer", "wait"), later=True)
    lasting = doctor.Finding("b", "", Problem("no such thing", "change it"))
    note = doctor.Finding("c", "", Problem("used", "look", code="warn-gpu-memory"))
    assert code_of([note]) == 0
    assert code_of([passing, note]) == 69
    assert code_of([passing, lasting]) == 64


def test_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    environ = {"TUNERY_SCRATCH": str(tmp_path / "new" / "scratch"), "TUNERY_CACHE": str(tmp_path)}
    assert code_of(list(doctor.places(environ))) == 0
    assert not (tmp_path / "new").exists()
    assert list(tmp_path.iterdir()) == []
    file = tmp_path / "file"
    file.touch()
    wrong = list(doctor.places({**environ, "TUNERY_SCRATCH": str(file)}))
    assert code_of(wrong) == 64
    refused = list(doctor.places({**environ, "TUNERY_SCRATCH": "/proc/tunery"}))
    assert problems(refused)
    monkeypatch.setattr(doctor, "LEAST_FREE", 1 << 60)
    full = list(doctor.places(environ))
    assert "The disk is too small" in problems(full)[0]
    assert code_of(full) == 69


@pytest.fixture
def artifactory() -> Iterator[FakeArtifactory]:
    with FakeArtifactory() as server:
        yield server


def settings(server: FakeArtifactory, token: str) -> dict[str, str]:
    return {
        "TUNERY_ARTIFACTORY_URL": server.url,
        "TUNERY_ARTIFACTORY_PUBLISHED": "published",
        "TUNERY_ARTIFACTORY_TOKEN": token,
    }


def test_a_hub_that_answers_also_tells_the_time(artifactory: FakeArtifactory) -> None:
    environ = settings(artifactory, artifactory.token())
    found, skew = doctor.hub_access(environ, time.time)
    assert found.problem is None
    assert "lets this machine read published" in found.found
    assert skew is not None
    assert abs(skew) < 30
    _, ahead = doctor.hub_access(environ, lambda: time.time() + 3600)
    assert ahead is not None
    clock = doctor.clock_finding(time.time() + 3600, ahead)
    assert clock.problem is not None
    assert "ahead of the hub" in clock.problem.message


def test_a_hub_that_does_not_let_us_in(artifactory: FakeArtifactory) -> None:
    found, skew = doctor.hub_access(settings(artifactory, "wrong"), time.time)
    assert found.problem is not None
    assert "401" in found.problem.message
    assert skew is None
    away, _ = doctor.hub_access(
        settings(artifactory, "x") | {"TUNERY_ARTIFACTORY_URL": "http://127.0.0.1:9"}, time.time
    )
    assert code_of([away]) == 69
    nameless, _ = doctor.hub_access({"TUNERY_ARTIFACTORY_URL": artifactory.url}, time.time)
    assert code_of([nameless]) == 64


def test_a_clock_that_was_never_set() -> None:
    assert doctor.clock_finding(0.0, None).problem is not None
    assert doctor.clock_finding(time.time(), None).problem is None
    assert doctor.clock_finding(time.time(), doctor._skew(formatdate(usegmt=True), time.time())).problem is None
    assert doctor._skew("no date", 0.0) is None


def test_before_a_stage(driver: Driver) -> None:
    doctor.before_stage({**driver(L4), "TUNERY_GPUS": "1"})
    with pytest.raises(UnavailableError, match="promised 4 GPUs and sees 1"):
        doctor.before_stage({**driver(L4), "TUNERY_GPUS": "4"})
    with pytest.raises(InputError, match=r"has no (deepspeed|vllm)"):
        doctor.before_stage({**driver(L4), "TUNERY_IMAGE": "server"})


def test_a_pod_is_examined_before_its_stage(driver: Driver, capfd: pytest.CaptureFixture[str]) -> None:
    from workloads.stages.pod import command
    from workloads.training.signals import StopRequest

    environ = {**driver(L4), "TUNERY_GPUS": "8"}
    assert command(["train", "some-run"], environ, StopRequest()) == ExitCode.UNAVAILABLE
    assert "promised 8 GPUs and sees 1" in capfd.readouterr().err


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["doctor", *arguments])
    return int(ended.value.code or 0)


def test_the_verb(driver: Driver, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for name, value in driver(L4, L4).items():
        monkeypatch.setenv(name, value)
    assert run() == 0
    shown = capsys.readouterr().out
    assert "ok    driver" in shown
    assert "550.90.07" in shown
    monkeypatch.setenv("TUNERY_GPUS", "3")
    assert run("--json") == 69
    report: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert report["ok"] is False
    assert [each["problem"]["message"] for each in report["checks"] if not each["ok"]] == [
        "The pod was promised 3 GPUs and sees 2."
    ]
    assert run() == 69
    assert "fix: cordon the node" in capsys.readouterr().err


def test_compute_without_a_gpu(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert run("--compute") == 69
    assert "torch sees no GPU" in capsys.readouterr().err


def test_nothing_heavy_is_imported(repository: Path) -> None:
    program = "import sys, workloads.doctor; print([name for name in ('torch', 'httpx') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=repository)
    assert done.stdout.strip() == "[]"
