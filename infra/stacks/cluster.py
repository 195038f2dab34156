"""Everything of an environment that is in Google Cloud; the google provider only."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from infra.bindings import cdktf, google
from infra.names import Names
from infra.parts import (
    apis,
    attestation,
    budget,
    builds,
    cluster,
    encryption,
    identity,
    monitoring,
    network,
    node_pools,
    registry,
    secrets,
    storage,
)
from infra.scope import Scope
from infra.settings import Environment
from infra.stacks import backend


def build(app: Any, environment: Environment) -> Any:
    """Adds the stack ``cluster-<env>`` to the app and returns it."""
    names = Names(environment)
    stack = cdktf.TerraformStack(app, names.cluster_stack)
    backend.add(stack, environment)
    google.provider.GoogleProvider(
        stack,
        "google",
        project=environment.project,
        region=environment.region,
        default_labels=names.labels(),
        # Billing budgets and security APIs ask whose quota a person's own credentials use.
        user_project_override=True,
        billing_project=environment.project,
    )
    scope = Scope(stack, environment, names)
    scope = replace(scope, apis=apis.add(scope))
    keys = encryption.add(scope)
    accounts = identity.add(scope)
    buckets = storage.add(scope, keys, accounts)
    secrets.add(scope, keys, accounts)
    registry.add(scope, keys, accounts)
    net = network.add(scope)
    gke = cluster.add(scope, net, accounts.nodes.email, keys.cluster)
    node_pools.add(scope, gke, accounts.nodes.email)
    attestation.add(scope)
    builds.add(scope, accounts.builder, accounts.submitter, net)
    alerts = monitoring.add(scope, buckets.buckets["logs"])
    budget.add(scope, alerts, accounts.project_number)
    cdktf.TerraformOutput(stack, "cluster-name", value=gke.cluster.name, description="The GKE cluster")
    return stack
