"""Whether the registry has a run's images, asked before it is sent: a pod would find out only once it holds a GPU."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from workloads.engines.image_registry import Presence, Registries
from workloads.errors import InputError, Problem, UnavailableError
from workloads.render.run import ClusterRun
from workloads.render.steps import STEPS
from workloads.render.workflow import planned
from workloads.runtime import image_lock

_BUILD = (
    "take the file from the newest commit whose images were built (Cloud Build writes their digests into it), or build "
    "them for this environment; old images are removed after a time"
)


def image_problems(run: ClusterRun, connect: Callable[[], Registries] = Registries) -> Iterator[Problem]:
    """An error for each image that is not there; one warning when the registry does not say."""
    file = str(image_lock())
    needed = dict.fromkeys(STEPS[stage].image for stage in planned(run) if stage in STEPS)
    with connect() as registries:
        for name in needed:
            key, reference = f"images.{name}.digest", run.images[name]
            try:
                found = registries.look(reference)
            except (InputError, UnavailableError) as error:  # it would say the same of the other images
                said = error.problems[0]
                text = f"Whether the images exist is not known. {said.message}"
                yield Problem(text, said.fix, file, key, code="warn-preflight-image")
                return
            if found is not Presence.THERE:
                yield Problem(_absent(name, reference, found), _BUILD, file, key, code="preflight-image")


def _absent(name: str, reference: str, found: Presence) -> str:
    repository, _, digest = reference.partition("@")
    if found is Presence.NO_REPOSITORY:
        return f"There is no repository {repository}, which the image {name} is named in."
    return f"{repository} has no image with the digest {digest}, which is that of {name} here."
