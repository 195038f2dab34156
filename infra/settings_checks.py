"""Whether the settings of an environment fit one another and the limits of Google Cloud.

Pure: settings in, findings out. The bindings check none of this, and Terraform only after it has made half of it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

from infra.checks import maintenance, network, pools
from infra.checks.finding import Finding, known_machine, repeated
from infra.names import BUCKETS, Names
from infra.settings import Environment


@dataclass(frozen=True, slots=True)
class Check:
    """A check and the sections that it reads.

    Attributes:
        whole: sections that it reads as a whole, such as all pools for the number of nodes.
        entries: sections of which it reads each entry by itself.
    """

    find: Callable[[Environment], Iterator[Finding]]
    whole: tuple[str, ...] = ()
    entries: tuple[str, ...] = ()


def check(environment: Environment, absent: Collection[str] = (), partial: Collection[str] = ()) -> list[Finding]:
    """Everything that is wrong across fields.

    Args:
        absent: sections that the environment lacks because they are themselves wrong.
        partial: sections from which some entries were left out because they are themselves wrong.
    """
    return [
        finding
        for each in CHECKS
        if not set(absent).intersection((*each.whole, *each.entries)) and not set(partial).intersection(each.whole)
        for finding in each.find(environment)
    ]


def _system(environment: Environment) -> Iterator[Finding]:
    system = environment.system
    yield from known_machine(("system", "machine"), system.machine, gpus=False)
    if system.min > system.max:
        message = f"min ({system.min}) is more than max ({system.max})."
        yield Finding(("system", "min"), message, "lower min or raise max")


def _high_availability(environment: Environment) -> Iterator[Finding]:
    if not environment.cluster.high_availability:
        return
    if environment.system.min < 3:
        message = "High availability keeps up to three replicas on nodes of their own."
        yield Finding(("system", "min"), message, "set it to 3 or more, or turn off cluster.high_availability")
    if len(environment.zones) < 2:
        message = "High availability needs a second zone."
        yield Finding(("zones",), message, "add a zone, or turn off cluster.high_availability")


def _storage(environment: Environment) -> Iterator[Finding]:
    storage = environment.storage
    if storage.soft_delete_days > storage.run_days:
        message = f"Runs live {storage.run_days} days; keeping what was deleted for longer makes every run cost double."
        yield Finding(("storage", "soft_delete_days"), message, "make it storage.run_days or less")


def _builds(environment: Environment) -> Iterator[Finding]:
    if environment.builds.private_pool:
        yield from known_machine(("builds", "machine"), environment.builds.machine, gpus=False)


def _budget(environment: Environment) -> Iterator[Finding]:
    budget = environment.budget
    if budget is None:
        return
    yield from repeated(("budget", "emails"), [email.casefold() for email in budget.emails])
    if list(budget.thresholds) != sorted(set(budget.thresholds)):
        yield Finding(("budget", "thresholds"), "They do not ascend.", "write each once, the lowest first")


def _labels(environment: Environment) -> Iterator[Finding]:
    for label in environment.labels:
        if label in Names(environment).own_labels() or label.startswith("goog"):
            yield Finding(("labels", label), "This label is set by tunery or Google.", "choose another name")


def _buckets(environment: Environment) -> Iterator[Finding]:
    names = {kind: Names(environment).bucket(kind) for kind in BUCKETS}
    if "google" in names["models"]:
        message = f"The bucket {names['models']} would have `google` in its name, which Cloud Storage refuses."
        yield Finding(("name",), message, "choose another name or project")
    if environment.state_bucket in names.values():
        message = "This is the name of a bucket that Terraform itself makes, and it needs its state before that."
        yield Finding(("state_bucket",), message, "name it otherwise, such as PROJECT-terraform")


CHECKS = (
    Check(network.addresses, whole=("network",)),
    Check(network.sizes, whole=("network", "system", "pools")),
    Check(network.authorized, whole=("network",)),
    Check(pools.zones, whole=("region", "zones")),
    Check(pools.pool_zones, whole=("region", "zones"), entries=("pools",)),
    Check(pools.pools, entries=("pools",)),
    Check(pools.cpu_pool, whole=("pools",)),
    Check(pools.teams, whole=("pools", "teams")),
    Check(_system, whole=("system",)),
    Check(_high_availability, whole=("cluster", "system", "zones")),
    Check(maintenance.maintenance, whole=("cluster",)),
    Check(_storage, whole=("storage",)),
    Check(_builds, whole=("builds",)),
    Check(_budget, whole=("budget",)),
    Check(_labels, whole=("name",), entries=("labels",)),
    Check(_buckets, whole=("name", "project", "state_bucket")),
)


def collisions(environments: Sequence[Environment]) -> list[tuple[Environment, Finding]]:
    """What environments take from one another; each with the later one of the two."""
    found = []
    for first, second in combinations(environments, 2):
        if first.project == second.project:
            message = (
                f"{first.name} is in this project too, and a project has one Binary Authorization policy and one bill."
            )
            found.append((second, Finding(("project",), message, "give each environment a project of its own")))
        for kind in BUCKETS:
            if (bucket := Names(second).bucket(kind)) == Names(first).bucket(kind):
                message = (
                    f"{first.name} has the bucket {bucket} too, and those names are unique in all of Google Cloud."
                )
                found.append((second, Finding(("name",), message, "choose another name")))
                break
    return found
