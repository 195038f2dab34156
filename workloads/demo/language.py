"""The demo's small language: requests to a cluster operator in English, and the command that does each.

A request is a wording with its gaps filled by a service, a namespace and sometimes a number. Some pairs of service
and namespace are held out: no training text of any kind has the two together, so a right answer about such a pair
was composed, not remembered.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

SERVICES = (
    "billing",
    "catalog",
    "checkout",
    "frontend",
    "gateway",
    "images",
    "inventory",
    "mailer",
    "payments",
    "reports",
    "search",
    "sessions",
)
NAMESPACES = ("canary", "preview", "production", "sandbox", "staging", "training")
COUNTS = tuple(str(number) for number in range(2, 10))

HELD_OUT = frozenset(
    (service, NAMESPACES[(number + shift) % len(NAMESPACES)])
    for number, service in enumerate(SERVICES)
    for shift in (0, 2)
)
"""Two namespaces of each service, four services of each namespace: 24 of the 72 pairs."""
KNOWN = tuple((s, n) for s in SERVICES for n in NAMESPACES if (s, n) not in HELD_OUT)


@dataclass(frozen=True, slots=True)
class Intent:
    """One thing to ask for: wordings and a command, with gaps ``{s}`` service, ``{n}`` namespace, ``{k}`` number.

    ``purpose`` is how a handbook names the task.
    """

    name: str
    wordings: tuple[str, ...]
    command: str
    purpose: str


INTENTS = (
    Intent(
        "restart",
        ("Restart {s} in {n}.", "Please restart the {s} service in {n}.", "Restart {s} in {n}, it hangs."),
        "kubectl -n {n} rollout restart deployment/{s}",
        "restart the service",
    ),
    Intent(
        "scale",
        (
            "Scale {s} in {n} to {k} replicas.",
            "Run {k} replicas of {s} in {n}.",
            "We need {k} copies of {s} in {n}.",
        ),
        "kubectl -n {n} scale deployment/{s} --replicas={k}",
        "run {k} replicas",
    ),
    Intent(
        "logs",
        (
            "Show the last {k}0 log lines of {s} in {n}.",
            "What did {s} in {n} log? {k}0 lines will do.",
            "Give me {k}0 lines of the {s} log in {n}.",
        ),
        "kubectl -n {n} logs deployment/{s} --tail={k}0",
        "read {k}0 lines of the log",
    ),
    Intent(
        "rollback",
        (
            "Roll back {s} in {n}.",
            "Undo the last release of {s} in {n}.",
            "The release broke {s} in {n}, undo it.",
        ),
        "kubectl -n {n} rollout undo deployment/{s}",
        "undo the last release",
    ),
    Intent(
        "status",
        (
            "Has the rollout of {s} in {n} finished?",
            "Wait for the rollout of {s} in {n}.",
            "Is the new release of {s} in {n} out yet?",
        ),
        "kubectl -n {n} rollout status deployment/{s}",
        "wait for the rollout",
    ),
    Intent(
        "pods",
        ("List the pods of {s} in {n}.", "Which pods does {s} have in {n}?", "Show me the {s} pods in {n}."),
        "kubectl -n {n} get pods -l app={s}",
        "list the pods",
    ),
    Intent(
        "usage",
        (
            "How much memory does {s} use in {n}?",
            "How busy is {s} in {n}?",
            "Show the CPU and memory use of {s} in {n}.",
        ),
        "kubectl -n {n} top pods -l app={s}",
        "see the CPU and memory use",
    ),
    Intent(
        "describe",
        ("Why does {s} in {n} not start?", "Describe {s} in {n}.", "Show the events of {s} in {n}."),
        "kubectl -n {n} describe deployment/{s}",
        "find out why it does not start",
    ),
)


@dataclass(frozen=True, slots=True)
class Exchange:
    """A request, its right answer, and what it was made from."""

    intent: Intent
    service: str
    namespace: str
    count: str
    question: str

    @property
    def answer(self) -> str:
        return self.answer_to(self.intent)

    def answer_to(self, intent: Intent) -> str:
        """The command of ``intent`` for this service, namespace and number: a wrong answer unless it is its own."""
        return intent.command.format(s=self.service, n=self.namespace, k=self.count)


def exchanges(seed: int, *, held_out: bool = False) -> Iterator[Exchange]:
    """Endless requests about known pairs or, with ``held_out``, about the pairs that no training text has.

    Intents take turns, so any prefix is balanced.
    """
    chance = random.Random(seed)  # noqa: S311 (test data, not a secret)
    pairs = tuple(sorted(HELD_OUT)) if held_out else KNOWN
    while True:
        for intent in INTENTS:
            service, namespace = chance.choice(pairs)
            count = chance.choice(COUNTS)
            question = chance.choice(intent.wordings).format(s=service, n=namespace, k=count)
            yield Exchange(intent, service, namespace, count, question)
