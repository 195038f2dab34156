"""Whether the documents beside a published version say what they said when it was published, and who signed them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

from workloads.errors import Problem, TuneryError
from workloads.hub.artifactory_publish import BUNDLE, LINEAGE
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
    return problems + _signature(published, read.get(BUNDLE), Checker.from_environment(environ))


def check_origin(published: Published, models: PublishedModels, environ: Mapping[str, str]) -> None:
    """Where signers are known, lets only pass what one of them has published.

    Raises:
        TuneryError: nobody known has signed it, or something beside its files is damaged.
    """
    if environ.get(ENV_SIGNING_PUBLIC_KEY):
        problems = [each for each in verify_documents(published, models, environ) if not each.is_warning]
        if problems:
            raise TuneryError(problems)


def _signature(published: Published, bundle: bytes | None, checker: Checker | None) -> list[Problem]:
    record = published.record
    if checker is None:
        state = "is not signed" if bundle is None else "is signed, and nobody has checked by whom"
        fix = f"put the signer's public key into {ENV_SIGNING_PUBLIC_KEY}, or give --env ENV"
        return [Problem(f"{record.reference} {state}.", fix, code="warn-unsigned")]
    if bundle is None:
        message, fix = f"{record.reference} is not signed.", "publish with the signing key of your company"
        return [Problem(message, fix, key=BUNDLE, code="signature")]
    try:
        payload = checker.payload(json.loads(bundle))
    except ValueError:
        payload = None
    if payload is None:
        message = f"The signature of {record.reference} is not by the owner of a key that is trusted here."
        fix = f"see who published it, and whether {ENV_SIGNING_PUBLIC_KEY} has the right key"
        return [Problem(message, fix, key=BUNDLE, code="signature")]
    if not states(payload, record.manifest, record.lineage_digest):
        message = f"What was signed for {record.reference} is not what is there: other files, or another lineage."
        return [Problem(message, "do not use this version; see who changed it", key=BUNDLE, code="signature")]
    return []
