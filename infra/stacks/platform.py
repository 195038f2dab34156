"""Everything of an environment that runs on its cluster; the helm provider, and google's only to look things up."""

from __future__ import annotations

from typing import Any

from infra.bindings import cdktf, google, helm
from infra.names import Names
from infra.parts import controllers
from infra.scope import Scope
from infra.settings import Environment
from infra.stacks import backend


def build(app: Any, environment: Environment) -> Any:
    """Adds the stack ``platform-<env>`` to the app and returns it."""
    names = Names(environment)
    stack = cdktf.TerraformStack(app, names.platform_stack)
    backend.add(stack, environment)
    google.provider.GoogleProvider(stack, "google", project=environment.project, region=environment.region)
    # A data source and not the cluster stack's output: each stack can be planned and destroyed without the other.
    cluster = google.data_google_container_cluster.DataGoogleContainerCluster(
        stack, "cluster", name=names.cluster, location=environment.region, project=environment.project
    )
    endpoint = cluster.control_plane_endpoints_config.get(0).dns_endpoint_config.get(0).endpoint
    helm.provider.HelmProvider(
        stack,
        "helm",
        kubernetes={
            # The DNS endpoint asks IAM and has a public certificate, so there is no key to keep and no CA to pass.
            "host": f"https://{endpoint}",
            "exec": {"api_version": "client.authentication.k8s.io/v1beta1", "command": "gke-gcloud-auth-plugin"},
        },
    )
    controllers.add(Scope(stack, environment, names))
    return stack
