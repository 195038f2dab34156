"""The pods have a node, and their process has not started yet."""

from __future__ import annotations

import re

from workloads.explain.cause import Act, Found, cause, found
from workloads.explain.evidence import Evidence
from workloads.explain.objects import happened_line, name_of, part, seconds, text

_PULL = ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "ImageInspectError")
_MOUNT = ("FailedMount", "FailedAttachVolume", "FailedCreatePodSandBox")


@cause(
    "image-missing",
    "The registry has no such image.",
    Act.OPERATIONS,
    "build the images (images/cloudbuild.yaml), commit configs/images.lock.json, and send the run again",
)
def image_missing(e: Evidence) -> Found | None:
    return _pull(e, r"not found|manifest unknown|NotFound|name unknown|couldn't parse|InvalidImageName|not present")


@cause(
    "image-denied",
    "The registry does not let the node read the image.",
    Act.OPERATIONS,
    "give the node's service account roles/artifactregistry.reader (deploy cluster-{environment})",
)
def image_denied(e: Evidence) -> Found | None:
    return _pull(e, r"403|401|[Ff]orbidden|[Uu]nauthorized|denied|authorization failed|failed to authorize")


@cause(
    "image-unreachable",
    "The node could not read the image from the registry.",
    Act.OPERATIONS,
    "see whether nodes reach the registry (Private Google Access, DNS); it is tried again by itself",
)
def image_unreachable(e: Evidence) -> Found | None:
    return _pull(e, "")


@cause(
    "secret-empty",
    "A secret in Secret Manager is missing or has no version.",
    Act.OPERATIONS,
    "gcloud secrets versions add SECRET --data-file=-; the pod starts by itself",
)
def secret_empty(e: Evidence) -> Found | None:
    return _mount(e, r"not found or has no versions|is in DISABLED state|is in DESTROYED state", "has no value")


@cause(
    "secret-denied",
    "The pod's account may not read one of its secrets.",
    Act.OPERATIONS,
    "deploy the environment (cdktf deploy cluster-{environment}), which grants each role its secrets; the pod then "
    "starts by itself",
)
def secret_denied(e: Evidence) -> Found | None:
    return _mount(e, r"secretmanager\.versions\.access|PermissionDenied", "may not be read by the pod")


@cause(
    "mount-failed",
    "A volume of the pod could not be mounted.",
    Act.OPERATIONS,
    "the message says which; kubectl -n {namespace} get events --field-selector reason=FailedMount",
)
def mount_failed(e: Evidence) -> Found | None:
    return _mount(e, "", "could not be mounted")


@cause(
    "container-refused",
    "The node could not start the container.",
    Act.OPERATIONS,
    "the message says why; an image without the command is of another commit than tunery",
)
def container_refused(e: Evidence) -> Found | None:
    for name, reason, message in e.waiting:
        if reason in ("CreateContainerConfigError", "CreateContainerError", "RunContainerError", "CrashLoopBackOff"):
            return found(f"The container of pod {name} cannot start.", f"pod {name}: {reason}: {message}")
    return None


@cause(
    "image-pulling",
    "The node reads the image, which takes minutes the first time.",
    Act.NOBODY,
    "it starts by itself; image streaming makes it seconds (images in the region's Artifact Registry)",
)
def image_pulling(e: Evidence) -> Found | None:
    pulling = e.happened("Pulling")
    if not e.waiting or not pulling:
        return None
    pulled = {part(each, "involvedObject", "name") for each in e.happened("Pulled")}
    slow = [each for each in pulling if part(each, "involvedObject", "name") not in pulled]
    if not slow:
        return None
    since = e.now - max(seconds(slow[-1].get("lastTimestamp")), seconds(slow[-1].get("eventTime")))
    pod = part(slow[-1], "involvedObject", "name")
    return found(f"The node of pod {pod} has read the image for {since:.0f} s.", happened_line(slow[-1]))


@cause(
    "container-starting",
    "The pod's container is being made on its node.",
    Act.NOBODY,
    "it starts by itself, in seconds",
)
def container_starting(e: Evidence) -> Found | None:
    if not e.going or not e.waiting:
        return None
    name, reason, message = e.waiting[-1]
    return found(f"The container of pod {name} is being made.", f"pod {name}: {reason} {message}".strip())


def _pull(e: Evidence, pattern: str) -> Found | None:
    for name, reason, message in e.waiting:
        if reason not in _PULL:
            continue
        # The message of a back-off says nothing: the event before it does.
        events = [each for each in e.happened("Failed") if part(each, "involvedObject", "name") == name]
        telling = [each for each in events if "pull" in text(each.get("message")).lower()]
        said = " ".join([reason, message, *(text(each.get("message")) for each in telling)])
        if re.search(pattern, said):
            image = re.search(r'image "([^"]+)"', said)
            line = f"pod {name}: {reason}: {message}"
            what = f"The image {image[1] if image else ''} of pod {name} could not be read.".replace("  ", " ")
            return found(what, line, *(happened_line(each) for each in telling[-1:]))
    return None


def _mount(e: Evidence, pattern: str, what: str) -> Found | None:
    if not e.going or e.running or not e.newest_pods:
        return None
    events = [each for each in e.happened(*_MOUNT) if re.search(pattern, text(each.get("message")))]
    if not events:
        return None
    said = text(events[-1].get("message"))
    secret = re.search(r"secrets/([\w-]+)", said)
    volume = re.search(r'for volume "([^"]+)"', said)
    subject = f"The secret {secret[1]}" if secret else f"The volume {volume[1]}" if volume else "A part"
    return found(f"{subject} of pod {name_of(e.newest_pods[-1])} {what}.", happened_line(events[-1]))
