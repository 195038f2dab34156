"""Cloud Storage that fails: what the client mends, and what a person is told when it cannot."""

import hashlib
import io
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from workloads.errors import InputError, UnavailableError
from workloads.storage import object_gcs
from workloads.storage.object_gcs import GcsStore
from workloads.storage.objects import Store, open_store

CONTENT = bytes(range(256)) * 40


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    path.write_bytes(CONTENT)
    return path


def _upload(store: Store, source: Path) -> bool:
    return store.upload(source, "a", hashlib.sha256(CONTENT).hexdigest())


def _download(store: Store, _: Path) -> bool:
    target = io.BytesIO()
    store.download("a", target)
    return target.getvalue() == CONTENT


CALLS: dict[str, Callable[[Store, Path], Any]] = {
    "read": lambda store, _: store.read("a") == CONTENT,
    "write": lambda store, _: store.write("b", b"x"),
    "upload": _upload,
    "download": _download,
    "find": lambda store, _: store.find("a"),
    "under": lambda store, _: store.under(""),
    "delete": lambda store, _: store.delete("a"),
}


@pytest.mark.parametrize("call", CALLS)
def test_failures_that_pass_are_tried_again(faults: Any, gcs_url: str, source: Path, call: str) -> None:
    store = open_store(gcs_url)
    _upload(store, source)
    faults.spoil("503", 2)
    assert CALLS[call](store, source)
    assert faults.spoiled == 2


@pytest.mark.parametrize("call", CALLS)
def test_failures_that_last_are_unavailable(faults: Any, gcs_url: str, source: Path, call: str) -> None:
    bucket, prefix = gcs_url.removeprefix("gs://").split("/")
    store = GcsStore(bucket, prefix, retry_seconds=0.05)
    _upload(store, source)
    faults.spoil("503")
    with pytest.raises(UnavailableError, match=r"does not answer as it should.*503|Timeout of"):
        CALLS[call](store, source)


@pytest.mark.parametrize("fault", ["stall", "lost"])
def test_a_peer_that_falls_silent_is_not_waited_for(
    faults: Any, gcs_url: str, source: Path, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(object_gcs, "_TIMEOUT", (1.0, 0.1))
    store = open_store(gcs_url)
    _upload(store, source)
    faults.spoil(fault, 1)
    assert store.read("a") == CONTENT
    assert faults.spoiled == 1


def test_a_download_that_is_cut_off_goes_on_where_it_was(faults: Any, gcs_url: str, source: Path) -> None:
    store = open_store(gcs_url)
    _upload(store, source)
    faults.spoil("cut", 2)
    assert _download(store, source)
    assert faults.spoiled == 2


def test_a_creation_whose_answer_was_lost_is_not_done_twice(faults: Any, gcs_url: str) -> None:
    store = open_store(gcs_url)
    faults.spoil("lost", 1)
    assert not store.write("run.json", b"first", if_absent=True)  # its own first attempt was there before
    assert store.read("run.json") == b"first"


def test_a_refusal_says_who_can_help(faults: Any, gcs_url: str) -> None:
    store = open_store(gcs_url)
    faults.spoil("403")
    with pytest.raises(InputError, match="refuses access") as caught:
        store.read("run.json")
    assert "operations" in caught.value.problems[0].fix
    assert caught.value.problems[0].file == f"{gcs_url}/run.json"


@pytest.mark.parametrize("call", CALLS)
def test_an_absent_bucket_is_named(gcs_url: str, source: Path, call: str) -> None:
    store = open_store("gs://no-such-bucket/team")
    with pytest.raises(InputError, match="no bucket 'no-such-bucket'"):
        CALLS[call](store, source)


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "google.cloud.storage", None)
    monkeypatch.delattr("google.cloud.storage", raising=False)
    with pytest.raises(InputError, match=r"tunery\[cloud\]"):
        open_store("gs://bucket/x").read("run.json")
