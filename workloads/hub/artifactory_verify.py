"""Whether the documents beside a published version say what they said when it was published, and who signed them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

from workloads.errors import Problem
from workloads.hub.artifactory_publish import ENVELOPE, LINEAGE
from workloads.hub.artifactory_published import Published, PublishedModels
from workloads.hub.provenance import Checker, states
from workloads.hub.records import lineage_digest
from workloads.runtime import ENV_SIGNING_PUBLIC_KEY

_RESTORE = "restore it from a backup"


def verify_documents(published: Published, models: PublishedModels, environ: Mapping[str, str]) -> list[Problem]:
    """What is wrong with the lineage, the model card, the provenance and its signature; a note when none is signed.

    Raises:
        InputError: the public key that is named cannot be read.
    """
    record, problems, read = published.record, [], {}
    for entry in published.documents.files:
        content = models.files.read(f"{record.name}/{record.version}/{entry.path}")
        if content is None or hashlib.sha256(content).hexdigest() != entry.sha256:
            what = "is missing" if content is None else "does not have the recorded SHA-256"
            problems.append(Problem(f"{entry.path} of {record.reference} {what}.", _RESTORE, code="damaged"))
        else:
            read[entry.path] = content
    if lineage_digest(record.lineage) != record.lineage_digest:
        message = f"The lineage of {record.reference} does not have the recorded SHA-256."
        problems.append(Problem(message, _RESTORE, key=LINEAGE, code="damaged"))
    return problems + _signature(published, read.get(ENVELOPE), Checker.from_environment(environ))


def _signature(published: Published, envelope: bytes | None, checker: Checker | None) -> list[Problem]:
    record = published.record
    if checker is None:
        state = "is not signed" if envelope is None else "is signed, and nobody has checked by whom"
        fix = f"name the signer's public key in {ENV_SIGNING_PUBLIC_KEY}"
        return [Problem(f"{record.reference} {state}.", fix, code="warn-unsigned")]
    if envelope is None:
        message, fix = f"{record.reference} is not signed.", "publish with the signing key of your company"
        return [Problem(message, fix, key=ENVELOPE, code="signature")]
    try:
        payload = checker.payload(json.loads(envelope))
    except ValueError:
        payload = None
    if payload is None:
        message = f"The signature of {record.reference} is not by the owner of the key that is named."
        fix = f"see who published it, and whether {ENV_SIGNING_PUBLIC_KEY} names the right key"
        return [Problem(message, fix, key=ENVELOPE, code="signature")]
    if not states(payload, record.manifest, record.lineage_digest):
        message = f"What was signed for {record.reference} is not what is there: other files, or another lineage."
        return [Problem(message, "do not use this version; see who changed it", key=ENVELOPE, code="signature")]
    return []
