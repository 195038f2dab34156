"""What has to be there before the first deploy, as gcloud commands; pure. ``bootstrap_project`` runs them."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from infra.names import Names
from infra.settings import Environment

STATE_RESTORABLE = "30d"
"""For how long a deleted state can be restored."""

APIS = ("cloudresourcemanager", "iam", "serviceusage", "storage")
"""What this script and Terraform's first step call; Terraform switches the others on."""
FEDERATION_APIS = ("iamcredentials", "sts")

DEPLOYER_ROLES: dict[str, str] = {
    "roles/artifactregistry.admin": "repositories of images and charts, and who reads and writes them",
    "roles/binaryauthorization.policyEditor": "which images the cluster starts",
    "roles/cloudbuild.builds.editor": "triggers",
    "roles/cloudbuild.workerPoolOwner": "the private pool of builds",
    "roles/cloudkms.admin": "keys and who uses them; it cannot decrypt with them",
    "roles/compute.networkAdmin": "network, subnet, routes, Cloud NAT, peering of the private pool",
    "roles/compute.securityAdmin": "firewall rules, which are not part of networkAdmin",
    "roles/container.admin": "cluster and node pools, and the platform stack's Kubernetes RBAC, which no less may make",
    "roles/dns.admin": "the private zones that lead to Google's own addresses",
    "roles/iam.serviceAccountAdmin": "the accounts of nodes and builds, never a key",
    "roles/iam.serviceAccountUser": "node pools and triggers run as those accounts, and who makes them must be allowed "
    "to; on the project, since they do not exist yet. serviceAccountAdmin could grant it to itself",
    "roles/logging.configWriter": "the log sink, retention and log-based metrics; it reads no log",
    "roles/monitoring.alertPolicyEditor": "alerts",
    "roles/monitoring.notificationChannelEditor": "who is mailed",
    "roles/serviceusage.serviceUsageAdmin": "switching APIs on",
    "roles/storage.admin": "buckets, managed folders and who reads and writes them",
}
"""What ``cdktf deploy`` needs on the project, and for what. Project IAM and secrets are apart: they are narrower than
any predefined role."""

GRANTABLE = (
    "roles/cloudbuild.workerPoolUser",
    "roles/container.clusterViewer",
    "roles/container.defaultNodeServiceAccount",
    "roles/logging.logWriter",
)
"""The roles that the deployer may grant on the project: those that the stacks do. A condition compares with ten at
most."""

SECRETS_ROLE = "tuneryDeployerSecrets"
SECRETS_PERMISSIONS = tuple(
    f"secretmanager.secrets.{verb}" for verb in ("create", "delete", "get", "getIamPolicy", "setIamPolicy", "update")
)
"""secretmanager.admin could also read the values, which no deploy needs."""


@dataclass(frozen=True)
class Step:
    """One gcloud command, and why; it is left out when ``exists``, another one, succeeds."""

    why: str
    command: tuple[str, ...]
    exists: tuple[str, ...] | None = None

    def shell(self) -> str:
        """The step in a shell script."""
        command = shlex.join(("gcloud", *self.command))
        if self.exists is not None:
            command = f"{shlex.join(('gcloud', *self.exists))} >/dev/null 2>&1 || {command}"
        return f"# {self.why}\n{command}\n"


@dataclass(frozen=True)
class Federation:
    """The repository on GitHub, as ``owner/name``, whose pipelines on one branch deploy without a key."""

    repository: str
    branch: str
    project_number: int


def steps(environment: Environment, operators: Sequence[str] = (), federation: Federation | None = None) -> list[Step]:
    """Everything that has to be there before the first deploy, in order."""
    names = Names(environment)
    account = names.google_email("deployer")
    return [
        *_apis(environment, federation),
        *_deployer(environment, names, account),
        *_state(environment, account),
        *_roles(environment, account),
        *(_impersonation(environment, account, member) for member in operators),
        *(_federated(environment, names, account, federation) if federation else ()),
    ]


def _apis(environment: Environment, federation: Federation | None) -> Iterator[Step]:
    apis = [*APIS, *(FEDERATION_APIS if federation else ())]
    services = [f"{api}.googleapis.com" for api in apis]
    yield Step("the APIs of the first steps", ("services", "enable", *services, f"--project={environment.project}"))


def _deployer(environment: Environment, names: Names, account: str) -> Iterator[Step]:
    project = f"--project={environment.project}"
    yield Step(
        "the account that deploys",
        (
            *("iam", "service-accounts", "create", names.google_account("deployer"), project),
            "--display-name=Deploys with Terraform",
        ),
        ("iam", "service-accounts", "describe", account, project),
    )


def _state(environment: Environment, account: str) -> Iterator[Step]:
    bucket = f"gs://{environment.state_bucket}"
    guards = (
        "--uniform-bucket-level-access",
        "--public-access-prevention",
        f"--soft-delete-duration={STATE_RESTORABLE}",
    )
    place = (f"--project={environment.project}", f"--location={environment.region}")
    describe = ("storage", "buckets", "describe", bucket)
    yield Step("the bucket of Terraform's state", ("storage", "buckets", "create", bucket, *place, *guards), describe)
    yield Step(
        "versions of the state, and no way to make it public, also on a bucket that was there before",
        ("storage", "buckets", "update", bucket, "--versioning", *guards),
    )
    yield Step(
        "the deployer reads, writes and locks the state",
        ("storage", "buckets", "add-iam-policy-binding", bucket, *_binding(account, "roles/storage.objectUser")),
    )


def _roles(environment: Environment, account: str) -> Iterator[Step]:
    project = f"--project={environment.project}"
    role = (
        SECRETS_ROLE,
        project,
        "--title=Secrets without their values",
        f"--permissions={','.join(SECRETS_PERMISSIONS)}",
        "--stage=GA",
    )
    yield Step(
        "a role that makes secrets and cannot read them",
        ("iam", "roles", "create", *role),
        ("iam", "roles", "describe", SECRETS_ROLE, project),
    )
    yield Step("the same, on a role that an earlier version made", ("iam", "roles", "update", *role))
    grant = ("projects", "add-iam-policy-binding", environment.project)
    secrets = f"projects/{environment.project}/roles/{SECRETS_ROLE}"
    for granted, why in {**DEPLOYER_ROLES, secrets: "secrets, without their values"}.items():
        yield Step(why, (*grant, *_binding(account, granted), "--condition=None"))
    # The delimiter is a semicolon, because gcloud's own, the comma, is in the expression.
    only = f"api.getAttribute('iam.googleapis.com/modifiedGrantsByRole', []).hasOnly({list(GRANTABLE)})"
    yield Step(
        "granting on the project, only what the stacks grant: the deployer cannot make itself owner",
        (
            *(*grant, *_binding(account, "roles/resourcemanager.projectIamAdmin")),
            f"--condition=^;^title=only-what-tunery-grants;expression={only}",
        ),
    )
    if environment.budget is not None:
        yield Step(
            "the budget, which belongs to the billing account",
            (
                *("billing", "accounts", "add-iam-policy-binding", environment.budget.billing_account),
                *_binding(account, "roles/billing.costsManager"),
            ),
        )


def _impersonation(environment: Environment, account: str, member: str) -> Step:
    return Step(
        f"{member} deploys as the account, by impersonation and without a key",
        (
            *("iam", "service-accounts", "add-iam-policy-binding", account, f"--project={environment.project}"),
            *(f"--member={member}", "--role=roles/iam.serviceAccountTokenCreator"),
        ),
    )


def _federated(environment: Environment, names: Names, account: str, federation: Federation) -> Iterator[Step]:
    place = (f"--project={environment.project}", "--location=global")
    pools = ("iam", "workload-identity-pools")
    pool = names.prefix
    yield Step(
        "a pool of identities from outside Google Cloud",
        (*pools, "create", pool, *place, "--display-name=Pipelines that deploy"),
        (*pools, "describe", pool, *place),
    )
    provider = (*place, f"--workload-identity-pool={pool}")
    condition = (
        f"assertion.repository == '{federation.repository}' && assertion.ref == 'refs/heads/{federation.branch}'"
    )
    yield Step(
        "tokens of one branch of one repository, and of no pull request",
        (
            *(*pools, "providers", "create-oidc", "github", *provider),
            "--issuer-uri=https://token.actions.githubusercontent.com",
            "--attribute-mapping=google.subject=assertion.sub,attribute.repository=assertion.repository",
            f"--attribute-condition={condition}",
        ),
        (*pools, "providers", "describe", "github", *provider),
    )
    outside = (
        f"principalSet://iam.googleapis.com/projects/{federation.project_number}/locations/global/"
        f"workloadIdentityPools/{pool}/attribute.repository/{federation.repository}"
    )
    yield Step(
        "pipelines of the repository deploy as the account",
        (
            *("iam", "service-accounts", "add-iam-policy-binding", account, f"--project={environment.project}"),
            *(f"--member={outside}", "--role=roles/iam.workloadIdentityUser"),
        ),
    )


def _binding(account: str, role: str) -> tuple[str, str]:
    return f"--member=serviceAccount:{account}", f"--role={role}"
