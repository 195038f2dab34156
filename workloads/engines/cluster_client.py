"""Talks to a Kubernetes API server: objects as plain dicts, a time limit on every call, errors that a person can use.

The official client reads the kubeconfig, logs in and holds the connections. Its typed models know none of Argo's,
JobSet's and Kueue's kinds, so requests are made here. Importing it takes half a second: only functions do.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import urlencode

from workloads.engines.cluster_errors import AwayError, RefusedError, explained, refusal

MANAGER = "tunery"
"""The field manager of everything that is applied."""

_CONNECT_SECONDS = 5.0
_READ_SECONDS = 20.0
_PAGE = 500
_METADATA = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of object, as its address has it."""

    api: str
    plural: str
    namespaced: bool = True

    def path(self, namespace: str, name: str | None = None) -> str:
        """The address of the objects of a namespace, or of one of them."""
        place = f"{self.root}/namespaces/{namespace}" if self.namespaced else self.root
        return f"{place}/{self.plural}" + (f"/{name}" if name else "")

    @property
    def root(self) -> str:
        """The address of its API."""
        return f"/api/{self.api}" if "/" not in self.api else f"/apis/{self.api}"

    @property
    def group(self) -> str:
        """The API group; empty for Kubernetes' own."""
        return self.api.rpartition("/")[0]


WORKFLOW = Kind("argoproj.io/v1alpha1", "workflows")
TEMPLATE = Kind("argoproj.io/v1alpha1", "workflowtemplates")
CRON = Kind("argoproj.io/v1alpha1", "cronworkflows")
JOB = Kind("batch/v1", "jobs")
JOBSET = Kind("jobset.x-k8s.io/v1alpha2", "jobsets")
WORKLOAD = Kind("kueue.x-k8s.io/v1beta2", "workloads")
LOCAL_QUEUE = Kind("kueue.x-k8s.io/v1beta2", "localqueues")
CLUSTER_QUEUE = Kind("kueue.x-k8s.io/v1beta2", "clusterqueues", namespaced=False)
PRIORITY = Kind("kueue.x-k8s.io/v1beta2", "workloadpriorityclasses", namespaced=False)
POD = Kind("v1", "pods")
NAMESPACE = Kind("v1", "namespaces", namespaced=False)
SERVICE_ACCOUNT = Kind("v1", "serviceaccounts")
SECRET_CLASS = Kind("secrets-store.csi.x-k8s.io/v1", "secretproviderclasses")

SENT: dict[str, Kind] = {"WorkflowTemplate": TEMPLATE, "Workflow": WORKFLOW, "CronWorkflow": CRON}
"""The kinds that a run is sent as."""


@dataclass
class Cluster:
    """One API server, as one person sees it. May be used by several threads.

    Every method raises RefusedError when the server says no, and UnavailableError when it is away for longer than
    ``patience``.

    Attributes:
        api: the official client's ``ApiClient``.
        context: the name of the kubeconfig's context, for messages.
        patience: for how many seconds a server that is away is asked again; 0 for no second try.
        sleep: how it waits between tries.
    """

    api: Any
    context: str
    patience: float = 0.0
    sleep: Callable[[float], None] = field(default=time.sleep)

    def get(self, path: str, query: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """One object, or a list."""
        return self._json("GET", path, query)

    def find(self, kind: Kind, namespace: str, name: str) -> dict[str, Any] | None:
        """An object, or None when there is none of that name."""
        try:
            return self.get(kind.path(namespace, name))
        except RefusedError as answer:
            if answer.status == 404:
                return None
            raise

    def each(
        self, kind: Kind, namespace: str, labels: str | None = None, *, metadata_only: bool = False
    ) -> Iterator[dict[str, Any]]:
        """The objects of a namespace, page by page."""
        query: dict[str, Any] = {"limit": _PAGE} | ({"labelSelector": labels} if labels else {})
        headers = {"Accept": _METADATA} if metadata_only else {}
        while True:
            page = self._json("GET", kind.path(namespace), query, headers=headers)
            yield from page.get("items") or []
            more = page.get("metadata", {}).get("continue")
            if not more:
                return
            query["continue"] = more

    def apply(self, kind: Kind, manifest: dict[str, Any], *, dry_run: bool = False) -> dict[str, Any]:
        """Server-side apply: creates the object, or makes it what ``manifest`` says."""
        meta = manifest["metadata"]
        query = {"fieldManager": MANAGER, "force": "true", "fieldValidation": "Strict", **_dry(dry_run)}
        headers = {"Content-Type": "application/apply-patch+yaml"}
        path = kind.path(meta["namespace"], meta["name"])
        return self._json("PATCH", path, query, body=manifest, headers=headers)

    def create(self, kind: Kind, manifest: dict[str, Any], *, dry_run: bool = False) -> dict[str, Any]:
        """Creates an object; RefusedError 409 when there is one of its name."""
        query = {"fieldManager": MANAGER, "fieldValidation": "Strict", **_dry(dry_run)}
        return self._json("POST", kind.path(manifest["metadata"]["namespace"]), query, body=manifest)

    def ask(self, path: str, review: dict[str, Any]) -> dict[str, Any]:
        """Posts a question, such as a SelfSubjectAccessReview, and returns the status of the answer."""
        status: dict[str, Any] = self._json("POST", path, body=review).get("status", {})
        return status

    def merge(self, kind: Kind, namespace: str, name: str, change: dict[str, Any]) -> dict[str, Any]:
        """JSON merge patch of an object."""
        headers = {"Content-Type": "application/merge-patch+json"}
        return self._json("PATCH", kind.path(namespace, name), {"fieldManager": MANAGER}, body=change, headers=headers)

    def delete(self, kind: Kind, namespace: str, name: str, *, uid: str, orphan: bool = False) -> None:
        """Deletes just the object with ``uid``; one that is gone already is no error.

        Args:
            orphan: what it owns stays; otherwise that goes first.
        """
        options = {"propagationPolicy": "Orphan" if orphan else "Foreground", "preconditions": {"uid": uid}}
        try:
            self._json("DELETE", kind.path(namespace, name), body=options)
        except RefusedError as answer:
            if answer.status not in (404, 409):
                raise

    def lines(self, path: str, query: Mapping[str, Any], *, quiet_seconds: float) -> Iterator[bytes]:
        """The lines of an answer that goes on, such as a log or a watch; AwayError when it breaks off.

        Args:
            quiet_seconds: how long nothing may come before the connection counts as lost.
        """
        with self._opened("GET", path, query, read_seconds=quiet_seconds) as response:
            rest = b""
            for part in response.stream(65536, decode_content=True):
                *whole, rest = (rest + part).split(b"\n")
                yield from whole
            if rest:
                yield rest

    def patiently(self, call: Callable[[], _T]) -> _T:
        """Calls again while the server is away, until patience ends."""
        if self.patience <= 0:
            return call()
        import tenacity

        tries = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(AwayError),
            stop=tenacity.stop_after_delay(self.patience),
            wait=tenacity.wait_exponential(multiplier=0.25, max=5),
            sleep=self.sleep,
            reraise=True,
        )
        return tries(call)

    def _json(
        self,
        method: str,
        path: str,
        query: Mapping[str, Any] | None = None,
        *,
        body: dict[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        def once() -> dict[str, Any]:
            with self._opened(method, path, query or {}, body=body, headers=headers or {}) as response:
                value: dict[str, Any] = json.loads(response.data or b"{}")
                return value

        return self.patiently(once)

    @contextmanager
    def _opened(
        self,
        method: str,
        path: str,
        query: Mapping[str, Any],
        *,
        body: dict[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        read_seconds: float = _READ_SECONDS,
    ) -> Iterator[Any]:
        from urllib3 import Timeout

        sent = {"Accept": "application/json", "Content-Type": "application/json", **(headers or {})}
        self.api.update_params_for_auth(sent, [], ["BearerToken"])
        host = self.api.configuration.host
        with explained(self.context, host):
            response = self.api.rest_client.pool_manager.request(
                method,
                f"{host}{path}" + (f"?{urlencode(query)}" if query else ""),
                body=None if body is None else json.dumps(body),
                headers=sent,
                preload_content=False,
                timeout=Timeout(connect=_CONNECT_SECONDS, read=read_seconds),
                retries=False,
            )
            try:
                if response.status >= 400:
                    raise refusal(response.status, response.data, self.context, f"{method} {path}")
                yield response
            finally:
                response.close()


def _dry(dry_run: bool) -> dict[str, str]:
    return {"dryRun": "All"} if dry_run else {}
