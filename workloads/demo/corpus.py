"""The text that the tiny base model is pre-trained on: handbook pages, diary lines, definitions and small talk.

The base model so learns the words, the shape of the commands and of a conversation, but never to answer a request
with a command: that is what fine-tuning adds. Held-out pairs of service and namespace stay out of it.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

from workloads.demo.language import COUNTS, INTENTS, KNOWN, exchanges

TURN = "<|im_start|>{role}\n{text}<|im_end|>\n"
"""One message in ChatML, the layout that LLaMA-Factory calls ``chatml``."""

_DEFINITIONS = {
    "a namespace": "A namespace keeps the objects of one purpose apart from all others.",
    "a pod": "A pod is one running copy of a service, with its own address.",
    "a replica": "A replica is one of several equal pods that share the work.",
    "a deployment": "A deployment keeps the wanted number of pods of a service running.",
    "a rollout": "A rollout replaces old pods by new ones, a few at a time.",
    "a release": "A release is a new version of a service.",
    "a log": "A log is what a service writes down while it works, line by line.",
    "an event": "An event says what the cluster did to a pod, and why.",
    "a label": "A label is a name and a value by which pods are found.",
    "a cluster": "A cluster is a set of machines that run pods together.",
}
_TEAMS = ("shop", "platform", "data", "mobile")
_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday")
_DIARY = (
    "On {day} the {team} team looked at {s} in {n}. All {k} of {k} replicas were ready.",
    "The {s} service in {n} belongs to the {team} team. It needs {k} replicas by day and {k} by night.",
    "{day}: {s} in {n} was slow for {k}0 minutes. The log of those {k}0 minutes went to the {team} team.",
    "A release of {s} went to {n} on {day}. {k} pods were replaced, {k} pods are new.",
)
_TALLIES = (
    "{s} in {n}: {k} of {k} pods ready, {k} old, {k} new, {k} wanted.",
    "Wanted {k}, ready {k}, old {k}: {k} pods of {s} in {n}.",
    "Read {k}0 lines of {k}0, kept {k}0 of {k}0, in {n}.",
)
"""Lines with one number again and again: from these the model learns to copy numbers."""
_TALK = (
    ("Who looks after {s} in {n}?", "The {team} team looks after {s} in {n}."),
    ("Is {s} in {n} healthy?", "On {day} the {s} service in {n} was healthy."),
    ("Tell me about the {s} service in {n}.", "The {s} service in {n} belongs to the {team} team."),
    ("Please look at {s} in {n}.", "The {team} team will look at {s} in {n} on {day}."),
    ("I count {k} pods of {s} in {n}.", "Yes, {k} pods of {s} run in {n}."),
    ("We changed {k}0 lines of {s} in {n}.", "The {team} team will read the {k}0 lines."),
    ("How did {s} do in {n} on {day}?", "On {day} the {s} service in {n} was healthy."),
    ("Which team has {s} in {n}?", "The {team} team looks after {s} in {n}."),
)


def conversation(question: str, answer: str) -> str:
    """One question and answer in ChatML."""
    return TURN.format(role="user", text=question) + TURN.format(role="assistant", text=answer)


def documents(seed: int) -> Iterator[str]:
    """Endless short documents, their kinds in turn."""
    chance = random.Random(seed)  # noqa: S311 (text, not a secret)
    requests = exchanges(seed)
    while True:
        for _ in INTENTS:
            made = next(requests)
            purpose = made.intent.purpose.format(k=made.count)
            yield f"Handbook, {made.service} in {made.namespace}. To {purpose}, type:\n{made.answer}"
            yield _fill(chance.choice(_DIARY), chance)
            yield _fill(chance.choice(_TALLIES), chance)
            question, answer = chance.choice(_TALK)
            filled = _fill(f"{question}\0{answer}", chance).split("\0")
            yield conversation(filled[0], filled[1])
        term, meaning = chance.choice(tuple(_DEFINITIONS.items()))
        yield meaning
        yield conversation(f"What is {term}?", meaning)


def _fill(text: str, chance: random.Random) -> str:
    service, namespace = chance.choice(KNOWN)
    return text.format(
        s=service,
        n=namespace,
        k=chance.choice(COUNTS),
        day=chance.choice(_DAYS),
        team=chance.choice(_TEAMS),
    )
