"""A cluster of recorded objects, for what reads clusters."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from recorded_cluster.builders import NAMESPACE, RUN, Object
from workloads.engines.cluster_client import Kind
from workloads.engines.cluster_errors import AwayError, RefusedError
from workloads.errors import Problem


class RecordedCluster:
    """A cluster that has these objects, by kind and name, and refuses some kinds."""

    def __init__(self, *objects: tuple[Kind, Object], refuse: dict[str, int] | None = None, log: bytes = b"") -> None:
        self._objects = objects
        self._refuse = refuse or {}
        self._log = log

    def find(self, kind: Kind, namespace: str, name: str) -> Object | None:
        self._check(kind)
        return next((o for k, o in self._objects if k.plural == kind.plural and o["metadata"]["name"] == name), None)

    def each(self, kind: Kind, namespace: str, labels: str | None = None) -> Iterator[Object]:
        self._check(kind)
        return iter([o for k, o in self._objects if k.plural == kind.plural])

    def lines(self, path: str, query: dict[str, Any], *, quiet_seconds: float) -> Iterator[bytes]:
        assert path == f"/api/v1/namespaces/{NAMESPACE}/pods/{RUN}-t-8xk2p/log"
        return iter(self._log.splitlines())

    def _check(self, kind: Kind) -> None:
        status = self._refuse.get(kind.plural)
        if status == 503:
            raise AwayError(Problem("The API server cannot answer.", "try again"))
        if status:
            raise RefusedError(Problem(f"You may not list {kind.plural}.", "ask"), status, "Forbidden")
