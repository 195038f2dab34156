"""Artifactory as the Hugging Face Hub: what makes the official client, and whatever uses it, ask there."""

from __future__ import annotations

from workloads.platform import Platform
from workloads.runtime import ENV_HF_ENDPOINT

_LONGEST_DOWNLOAD = 86400
"""Seconds. Artifactory fetches a large file whole before it sends the first byte (JFrog's own recommendation)."""
_ETAG_SECONDS = _LONGEST_DOWNLOAD


def huggingface_environment(platform: Platform) -> dict[str, str]:
    """The variables for a process that downloads by ``huggingface_hub``; the token is not among them.

    A pod gets ``HF_TOKEN`` from its mounted secret when it starts (:mod:`workloads.stages.pod`).
    """
    artifactory = platform.artifactory
    return {
        ENV_HF_ENDPOINT: f"{artifactory.url}/api/huggingfaceml/{artifactory.models}",
        "HF_HUB_ETAG_TIMEOUT": str(_ETAG_SECONDS),
        "HF_HUB_DOWNLOAD_TIMEOUT": str(_LONGEST_DOWNLOAD),
        "HF_HUB_DISABLE_XET": "1",  # Xet talks to hosts of its own, past Artifactory
    }
