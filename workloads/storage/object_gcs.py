"""Objects in a bucket of Google Cloud Storage.

Conditions on an object's generation make creation atomic: of two writers that each want to be the first, one is.
Every object carries its SHA-256 as metadata; the client has the service compare a CRC32C of each upload besides.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workloads.errors import InputError, TuneryError, UnavailableError
from workloads.storage.manifest import sha256_file
from workloads.storage.objects import StoredObject, Writer, check_key, check_unchanged, manifests_first

if TYPE_CHECKING:
    from google.cloud.storage import Blob, Bucket

_TIMEOUT = (10.0, 60.0)
"""Seconds for a connection, and for the next bytes on it: a peer that is gone answers nothing, for minutes."""
_RETRY_SECONDS = 120.0
_UPLOAD_CHUNK = 16 << 20
"""Bytes that an upload holds in memory, and repeats after a failure."""
_NEW = 0
"""The generation of an object that does not exist."""
_AGAIN = "it is tried again; if that lasts, see the status of Cloud Storage and the network of the cluster"


class GcsStore:
    """A :class:`workloads.storage.objects.Store` in ``gs://BUCKET/PREFIX``.

    ``STORAGE_EMULATOR_HOST`` names an emulator, which needs no credentials.
    """

    def __init__(self, bucket: str, prefix: str, *, retry_seconds: float = _RETRY_SECONDS) -> None:
        self._bucket_name = bucket
        self._prefix = f"{check_key(prefix)}/" if prefix else ""
        self._retry_seconds = retry_seconds

    @property
    def url(self) -> str:
        return f"gs://{self._bucket_name}/{self._prefix}".rstrip("/")

    def read(self, key: str) -> bytes | None:
        from google.api_core.exceptions import NotFound

        with self._errors(key):
            try:
                content: bytes = self._blob(key).download_as_bytes(**self._patience)
            except NotFound:
                self._check_bucket()
                return None
        return content

    def write(self, key: str, content: bytes, *, if_absent: bool = False) -> bool:
        from google.api_core.exceptions import PreconditionFailed

        condition = {"if_generation_match": _NEW} if if_absent else {}
        with self._errors(key):
            try:
                self._blob(key).upload_from_string(
                    content, "application/octet-stream", checksum="crc32c", **condition, **self._patience
                )
            except PreconditionFailed:
                return False
        return True

    def upload(self, source: Path, key: str, sha256: str, *, if_absent: bool = False) -> bool:
        from google.api_core.exceptions import PreconditionFailed

        check_unchanged(source, sha256_file(source), sha256)
        condition = {"if_generation_match": _NEW} if if_absent else {}
        blob = self._blob(key)
        blob.metadata = {"sha256": sha256}
        blob.chunk_size = _UPLOAD_CHUNK
        with self._errors(key):
            try:
                blob.upload_from_filename(
                    str(source), "application/octet-stream", checksum="crc32c", **condition, **self._patience
                )
            except PreconditionFailed:
                return False
        return True

    def download(self, key: str, target: Writer, offset: int = 0) -> bool:
        from google.api_core.exceptions import NotFound

        with self._errors(key):
            try:
                # The caller knows the SHA-256, which says more than the client's check of a whole download.
                self._blob(key).download_to_file(
                    target, start=offset or None, raw_download=True, checksum=None, **self._patience
                )
            except NotFound:
                self._check_bucket()
                return False
        return True

    def find(self, key: str) -> StoredObject | None:
        with self._errors(key):
            blob = self._bucket.get_blob(self._prefix + check_key(key), **self._patience)
            if blob is None:
                self._check_bucket()
                return None
        return self._stored(blob)

    def under(self, prefix: str) -> list[StoredObject]:
        folder = f"{self._prefix}{check_key(prefix)}/" if prefix else self._prefix
        fields = "items(name,size,metadata,updated),nextPageToken"
        with self._errors(prefix):
            blobs = self._bucket.list_blobs(prefix=folder, fields=fields, **self._patience)
            return sorted((self._stored(blob) for blob in blobs), key=lambda each: each.key)

    def delete(self, prefix: str) -> int:
        from google.api_core.exceptions import NotFound

        found = self.under(prefix)
        if not found and (single := self.find(prefix)) is not None:
            found = [single]
        for each in manifests_first(found):
            with self._errors(each.key):
                try:
                    self._blob(each.key).delete(**self._patience)
                except NotFound:  # somebody else removed it
                    continue
        return len(found)

    @cached_property
    def _bucket(self) -> Bucket:
        # The client would ask for the bucket's metadata besides, for traces; our accounts may not read those.
        os.environ.setdefault("DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA", "true")
        try:
            from google.cloud import storage
        except ImportError:
            raise InputError.of(
                f"{self.url} needs the package google-cloud-storage.", "install tunery with its extra: tunery[cloud]"
            ) from None
        from google.auth.exceptions import DefaultCredentialsError

        try:
            return storage.Client(project=None).bucket(self._bucket_name)
        except DefaultCredentialsError as error:
            raise InputError.of(
                "There are no credentials for Google Cloud.",
                "log in with `gcloud auth application-default login`; a pod has them from Workload Identity",
                file=self.url,
            ) from error

    @cached_property
    def _patience(self) -> dict[str, Any]:
        from google.cloud.storage.retry import DEFAULT_RETRY

        retry = DEFAULT_RETRY.with_delay(initial=0.5, maximum=10, multiplier=2).with_timeout(self._retry_seconds)
        return {"timeout": _TIMEOUT, "retry": retry}

    def _blob(self, key: str) -> Blob:
        return self._bucket.blob(self._prefix + check_key(key))

    def _stored(self, blob: Blob) -> StoredObject:
        return StoredObject(
            str(blob.name).removeprefix(self._prefix),
            int(blob.size or 0),
            (blob.metadata or {}).get("sha256"),
            blob.updated.timestamp() if blob.updated is not None else None,
        )

    def _check_bucket(self) -> None:
        """The service says the same of an absent object and an absent bucket."""
        list(self._bucket.list_blobs(max_results=1, fields="items(name)", **self._patience))

    @contextmanager
    def _errors(self, key: str) -> Iterator[None]:
        _ = self._bucket  # what is missing here is said before anything of the package is imported
        from google.api_core.exceptions import GoogleAPIError
        from google.auth.exceptions import GoogleAuthError
        from requests import RequestException

        try:
            yield
        except (GoogleAPIError, GoogleAuthError, RequestException) as error:
            raise self._explained(error, key) from error

    def _explained(self, error: Exception, key: str) -> TuneryError:
        from google.api_core.exceptions import Forbidden, NotFound, Unauthorized

        place = f"{self.url}/{key}".rstrip("/")
        reason = str(error).strip().splitlines()[0][:300] if str(error).strip() else type(error).__name__
        if isinstance(error, NotFound):
            return InputError.of(
                f"There is no bucket {self._bucket_name!r}.",
                "create the environment first, or use the platform contract of the environment as it is deployed",
                file=place,
            )
        if isinstance(error, Forbidden | Unauthorized):
            return InputError.of(
                f"Cloud Storage refuses access: {reason}",
                "operations gives the account of this pod or person a role on the bucket's folder",
                file=place,
            )
        return UnavailableError.of(f"Cloud Storage does not answer as it should: {reason}", _AGAIN, file=place)
