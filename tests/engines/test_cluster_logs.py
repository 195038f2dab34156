from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from workloads import platform
from workloads.engines import cluster_client as k8s
from workloads.engines.cluster_client import Cluster, Kind
from workloads.engines.cluster_errors import AwayError
from workloads.engines.cluster_logs import Line, lines
from workloads.engines.remote import RemoteRun
from workloads.errors import InputError, Problem

RUN, STAGE = "tunery.dev/run", "tunery.dev/stage"


def a_pod(stage: str, name: str, *, owner: str = "Job", rank: str | None = None, waiting: bool = False) -> Any:
    labels = {RUN: "demo-1", STAGE: stage} | ({"batch.kubernetes.io/job-completion-index": rank} if rank else {})
    state = {"waiting": {}} if waiting else {"running": {}}
    meta = {"name": name, "labels": labels, "creationTimestamp": name, "ownerReferences": [{"kind": owner}]}
    return {"metadata": meta, "status": {"containerStatuses": [{"name": "main", "state": state}]}}


class Printing(Cluster):
    """A cluster whose pods print; an answer that is an error breaks the connection off."""

    def __init__(self, pods: list[Any], printed: dict[str, list[list[str | Exception]]]) -> None:
        super().__init__(None, "kit", sleep=lambda _seconds: None)
        self.pods, self.printed, self.queries = pods, printed, list[dict[str, Any]]()

    def each(self, kind: Kind, namespace: str, labels: str | None = None, **_: Any) -> Iterator[dict[str, Any]]:
        assert kind is k8s.POD
        wanted = dict(pair.split("=") for pair in (labels or "").split(","))
        yield from (pod for pod in self.pods if wanted.items() <= pod["metadata"]["labels"].items())

    def find(self, kind: Kind, namespace: str, name: str) -> dict[str, Any] | None:
        return {"status": {"phase": "Succeeded"}}

    def lines(self, path: str, query: Any, *, quiet_seconds: float) -> Iterator[bytes]:
        self.queries.append(dict(query))
        for each in self.printed[path.split("/")[-2]].pop(0):
            if isinstance(each, Exception):
                raise each
            yield each.encode()


@pytest.fixture
def run(repository: Path, monkeypatch: pytest.MonkeyPatch) -> RemoteRun:
    monkeypatch.setenv("TUNERY_PLATFORM", str(repository / "configs" / "platform"))
    assert platform.load("dev").labels.run == RUN
    return RemoteRun("demo-1", "dev", "research", "team-research", "/store")


def broken() -> AwayError:
    return AwayError(Problem("broken off", "wait"))


def test_each_pod_once_the_oldest_first_and_argo_left_out(run: RemoteRun) -> None:
    pods = [
        a_pod("train", "b1", rank="1"),
        a_pod("train", "b0", rank="0"),
        a_pod("train", "a9", owner="Workflow"),
        a_pod("fetch", "a0", owner="Workflow"),
        a_pod("evaluate", "c", waiting=True),
    ]
    argo = 't4 time=2026-01-02T03:04:05Z level=INFO msg="Starting" argo=true version=v4'
    printed = {"a0": [["t1 one", argo]], "b0": [["t2 two  words"]], "b1": [["t3 "]]}
    found = list(lines(Printing(pods, printed), run, None, follow=False))
    assert found == [Line("fetch", "one"), Line("train-0", "two  words"), Line("train-1", "")]
    only = Printing(pods, {"b0": [["t2 two"]], "b1": [[]]})
    assert list(lines(only, run, "train", follow=False)) == [Line("train-0", "two")]


def test_a_connection_that_broke_off_goes_on_without_loss_or_repetition(run: RemoteRun) -> None:
    again: list[list[str | Exception]] = [
        ["t1.1 a", "t1.2 same", "t1.3 same", broken()],
        [broken()],
        ["t1.1 a", "t1.2 same", "t1.3 same", "t1.4 b"],
    ]
    cluster = Printing([a_pod("prepare", "p", owner="Workflow")], {"p": again})
    assert [line.text for line in lines(cluster, run, None, follow=True)] == ["a", "same", "same", "b"]
    assert [query.get("sinceTime") for query in cluster.queries] == [None, "t1.3", "t1.3"]


def test_without_following_a_break_is_an_error(run: RemoteRun) -> None:
    cluster = Printing([a_pod("prepare", "p", owner="Workflow")], {"p": [["t a", broken()]]})
    with pytest.raises(AwayError):
        list(lines(cluster, run, None, follow=False))


def test_of_pods_that_are_gone_it_is_said_where_to_look(run: RemoteRun) -> None:
    with pytest.raises(InputError, match="printed nothing yet") as refused:
        list(lines(Printing([], {}), run, None, follow=False))
    assert "Cloud Logging" in refused.value.problems[0].fix
