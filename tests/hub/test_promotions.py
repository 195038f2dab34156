from __future__ import annotations

import getpass
import json
import os

import pytest

from workloads.errors import TuneryError
from workloads.hub.promotions import PromotionLog


@pytest.fixture
def log(tmp_path):
    return PromotionLog(tmp_path / "promotions.jsonl")


def test_a_torn_last_line_never_happened_and_the_next_one_replaces_it(log):
    log.append(at="t1", name="model", alias="production", version="v1")
    whole = log.path.read_bytes()
    log.append(at="t2", name="model", alias="production", version="v2")
    line = log.path.read_bytes()[len(whole) :]
    for length in range(len(line)):
        log.path.write_bytes(whole + line[:length])
        assert log.aliases() == {"model": {"production": "v1"}}
        log.append(at="t2", name="model", alias="production", version="v2")
        assert log.path.read_bytes() == whole + line


@pytest.mark.parametrize("line", [b"{", b"[1]", b"{}", b"\xff"])
def test_a_damaged_line_is_named_rather_than_passed_over(log, line):
    log.append(at="t1", name="model", alias="production", version="v1")
    log.path.write_bytes(log.path.read_bytes() + line + b"\n")
    with pytest.raises(TuneryError, match=r"promotions\.jsonl:2: This line of the promotion log is damaged"):
        log.aliases()


def test_a_line_that_could_not_be_written_whole_is_taken_back(log, monkeypatch):
    log.append(at="t1", name="model", alias="production", version="v1")
    before = log.path.read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        log.append(at="t2", name="model", alias="production", version="v2")
    assert log.path.read_bytes() == before


def test_a_user_without_a_name_is_recorded_by_number(log, monkeypatch):
    def nameless() -> str:
        raise KeyError("getpwuid(): uid not found")

    monkeypatch.setattr(getpass, "getuser", nameless)
    log.append(at="t1", name="model", alias="production", version="v1")
    assert json.loads(log.path.read_text())["by"] == str(os.getuid())
