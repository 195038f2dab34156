"""Cloud Storage: the bytes of models, runs and logs, and who reads and writes them.

A team's runs are a managed folder of the bucket ``runs``, and grants are on the folder, so a team cannot read, list or
delete what another team trains. A condition on the object's name would not do: listing asks for permission on the
bucket, and would have to be granted for all of it. Models are shared: whoever fetches may add objects but never
replace or delete one, so no team can change the weights that another team loads.

The namespace is flat. A hierarchical one renames folders at once and rules versioning out; nothing here renames, as a
checkpoint counts when its manifest was written, last.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from infra.bindings import google
from infra.parts.encryption import Keys
from infra.parts.identity import Identity
from infra.scope import Scope

_READ = "roles/storage.objectViewer"
_ADD = "roles/storage.objectCreator"
_WRITE = "roles/storage.objectUser"

MODELS_ACCESS: dict[str, tuple[str, ...]] = {
    "stager": (_READ, _ADD),
    "trainer": (_READ,),
    "server": (_READ,),
    "board": (_READ,),
}
"""What a role of ``names.ROLES`` may do with models."""
RUNS_ACCESS: dict[str, str] = {"stager": _WRITE, "trainer": _WRITE, "publisher": _WRITE, "board": _WRITE}
"""What a role may do with the runs of its team: whoever runs a stage also writes its marker and the run's events."""

# A deleted object is kept as a noncurrent version for so many days, and then for soft_delete_days more. Old checkpoints
# are deleted all the time and are large; a base model is deleted by a person, who may be wrong for longer.
_NONCURRENT_DAYS = {"models": 30, "runs": 1, "logs": 1}
_ABORT_UPLOAD_DAYS = 7


@dataclass(frozen=True)
class Storage:
    """The buckets by their kind in ``names.BUCKETS``."""

    buckets: dict[str, Any]


def add(scope: Scope, keys: Keys, identity: Identity) -> Storage:
    """Adds the buckets, a folder of runs for each team, and the grants."""
    settings = scope.environment.storage
    logs = _bucket(scope, keys, "logs", age_days=settings.log_days)
    # Models are read a lot when new and then hardly, or never again: Autoclass moves the cold ones, and reads stay
    # free. Runs are rewritten and deleted before a colder class pays. Access logs are many objects too small for one.
    models = _bucket(scope, keys, "models", log_to=logs, autoclass={"enabled": True})
    runs = _bucket(scope, keys, "runs", log_to=logs, age_days=settings.run_days)
    # Google's own group, which delivers access logs.
    _grant_bucket(scope, "logs-access", logs, _ADD, "group:cloud-storage-analytics@google.com")
    for team, team_settings in scope.environment.teams.items():
        folder = google.storage_managed_folder.StorageManagedFolder(
            scope.stack,
            f"folder-runs-{team}",
            bucket=runs.name,
            name=scope.names.team_folder(team),
            # Only the grants go with a folder, never its objects: a team that is taken out of the settings loses access
            # at once, and its runs are deleted when they are old enough.
            force_destroy=True,
        )
        for role, granted in MODELS_ACCESS.items():
            for access in granted:
                _grant_bucket(scope, f"models-{team}-{role}", models, access, identity.principal(team, role))
        for role, access in RUNS_ACCESS.items():
            _grant_folder(scope, f"runs-{team}-{role}", folder, access, identity.principal(team, role))
        if scope.environment.builds.source is not None:
            # It uploads what a run reads, and remembers up to which commit the team's runs were sent.
            _grant_folder(scope, f"runs-{team}-submitter", folder, _WRITE, identity.submitter.member)
        if team_settings.group is not None:
            # They submit runs from their own machines, which uploads what a run reads.
            _grant_folder(scope, f"runs-{team}-group", folder, _WRITE, f"group:{team_settings.group}")
    return Storage({"models": models, "runs": runs, "logs": logs})


def _bucket(
    scope: Scope,
    keys: Keys,
    kind: str,
    *,
    log_to: Any = None,
    age_days: int | None = None,
    autoclass: dict[str, Any] | None = None,
) -> Any:
    environment = scope.environment
    rules = [
        _rule("AbortIncompleteMultipartUpload", age=_ABORT_UPLOAD_DAYS),
        _rule("Delete", days_since_noncurrent_time=_NONCURRENT_DAYS[kind], with_state="ARCHIVED"),
    ]
    if age_days is not None:
        rules.append(_rule("Delete", age=age_days, with_state="LIVE"))
    return google.storage_bucket.StorageBucket(
        scope.stack,
        f"bucket-{kind}",
        project=environment.project,
        name=scope.names.bucket(kind),
        location=environment.region,
        storage_class="STANDARD",
        autoclass=autoclass,
        uniform_bucket_level_access=True,
        public_access_prevention="enforced",
        versioning={"enabled": True},
        soft_delete_policy={"retention_duration_seconds": environment.storage.soft_delete_days * 24 * 3600},
        encryption={"default_kms_key_name": keys.storage},
        lifecycle_rule=rules,
        logging=None if log_to is None else {"log_bucket": log_to.name, "log_object_prefix": kind},
        labels=scope.names.labels(),
        force_destroy=False,
        lifecycle={"prevent_destroy": environment.cluster.deletion_protection},
    )


def _rule(action: str, **condition: Any) -> dict[str, Any]:
    return {"action": {"type": action}, "condition": condition}


def _grant_bucket(scope: Scope, id_: str, bucket: Any, role: str, member: str) -> None:
    google.storage_bucket_iam_member.StorageBucketIamMember(
        scope.stack, f"{id_}-{_short(role)}", bucket=bucket.name, role=role, member=member
    )


def _grant_folder(scope: Scope, id_: str, folder: Any, role: str, member: str) -> None:
    google.storage_managed_folder_iam_member.StorageManagedFolderIamMember(
        scope.stack, f"{id_}-{_short(role)}", bucket=folder.bucket, managed_folder=folder.name, role=role, member=member
    )


def _short(role: str) -> str:
    return role.rpartition(".")[2]
