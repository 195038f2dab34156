"""The run spec: everything that decides a run, checked at once.

Models are frozen and reject unknown keys. Paths inside a spec are relative to the file that holds it.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from workloads.recovery import Recovery
from workloads.spec_model import Spec

Scalar = bool | int | float | str | None
NAME_PATTERN = r"^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$"
"""A run's name becomes part of Kubernetes object names, so it is a short DNS label."""

CRON_PATTERN = r"^([0-9*,/-]+ +){4}[0-9*,/-]+$"
"""minute hour day-of-month month day-of-week, in digits."""

ALIAS_PATTERN = r"^([a-uw-z][a-z0-9-]*|v|v[0-9]*[a-z-][a-z0-9-]*)$"
"""A lower-case word; ``v1``, ``v2``, ... are versions."""

METRICS: dict[str, bool] = {
    "loss": False,
    "perplexity": False,
    "exact_match": True,
    "rouge1": True,
    "rougeL": True,
    "preference_accuracy": True,
}
"""The metrics that the evaluate stage can produce, and whether more is better."""

MAX_TRIALS = 1000
"""The most trials of a sweep."""

Metric = Literal["loss", "perplexity", "exact_match", "rouge1", "rougeL", "preference_accuracy"]


class Base(Spec):
    """The model that the training starts from."""

    model: Annotated[str, Field(min_length=1)]
    """A name in the hub (`tiny` or `organisation/model`), or a folder on this machine."""
    revision: str | None = None
    """A version, alias or 40-hex revision in the hub; the newest version when absent."""
    allow_pickle: bool = False
    """Accept a base model whose weights are pickle files, which can run any code when they are loaded."""


class DataVersion(Spec):
    """Which version of a data set is meant that dataset_info.json names by `hf_hub_url` or `cloud_file_name`."""

    revision: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=96)] | None = None
    """Of a data set in the hub: a branch, tag, version or commit; the newest when absent."""
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    """Of an object in Cloud Storage: the digest that it must have, as `sha256sum` prints it."""


class Questions(Spec):
    """Questions whose generated answers are compared with expected ones."""

    file: str
    """A JSONL file; each line has `question` and `answer`, and may have `category`."""
    max_new_tokens: Annotated[int, Field(ge=1, le=4096)] = 64
    """The longest answer, in tokens."""


class Evaluation(Spec):
    """What is measured on the base model and on the trained one."""

    questions: Questions | None = None
    """Generation against expected answers; without it only the loss on held-out data is measured."""
    rouge: bool = False
    """Also compute ROUGE-1 and ROUGE-L of the answers."""
    samples: Annotated[int, Field(ge=0, le=100)] = 8
    """How many sample answers, before and after, the report shows."""


class Rule(Spec):
    """One condition that a metric of the trained model must meet."""

    metric: Metric
    """The metric the rule is about."""
    min: float | None = None
    """The smallest value that passes."""
    max: float | None = None
    """The largest value that passes."""
    improve_by: float | None = None
    """How much better than the untrained base model it must be, in the metric's unit."""
    tolerance: float | None = None
    """How much worse than the committed baseline it may be, in the metric's unit."""

    @model_validator(mode="after")
    def _needs_a_bound(self) -> Rule:
        if self.min is None and self.max is None and self.improve_by is None and self.tolerance is None:
            raise ValueError("a rule needs one of min, max, improve_by or tolerance")
        return self


class Gate(Spec):
    """What must hold before the model is exported and published."""

    baseline: str | None = None
    """A JSON file, committed beside the spec, with the metrics of the last accepted model."""
    rules: Annotated[tuple[Rule, ...], Field(min_length=1)]
    """Every rule must hold."""

    @model_validator(mode="after")
    def _tolerance_needs_a_baseline(self) -> Gate:
        if self.baseline is None and any(rule.tolerance is not None for rule in self.rules):
            raise ValueError("a rule with a tolerance needs gate.baseline")
        return self


class Export(Spec):
    """The form in which the trained model is published."""

    merge: bool = True
    """Merge the LoRA adapter into the base model; otherwise the adapter alone is exported."""
    max_shard_gb: Annotated[int, Field(ge=1, le=50)] = 5
    """The largest weights file, in GB."""


class Publish(Spec):
    """Where the exported model goes in the hub."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,95}(/[A-Za-z0-9][A-Za-z0-9._-]{0,95})?$")]
    """The model's name in the hub."""
    aliases: tuple[Annotated[str, Field(pattern=ALIAS_PATTERN, max_length=39)], ...] = ("candidate",)
    """Aliases to point at the new version."""


class Serve(Spec):
    """Serve the published model once and ask it something, as proof that it can be served."""

    question: Annotated[str, Field(min_length=1)] = "Hello"
    """What the model is asked through the API."""
    approval: bool = False
    """On an environment, wait for a person before this stage."""


class Resources(Spec):
    """What the training runs on: on an environment it chooses the nodes.

    `count` times `nodes` says for how many devices the training config's batch size is meant. With fewer processes,
    as on one machine, accumulation makes up for it: the samples of an optimizer step stay the same.
    """

    accelerator: str | None = None
    """An accelerator that `tunery estimate` knows, such as `l4`."""
    pool: Annotated[str, Field(pattern=NAME_PATTERN)] | None = None
    """A pool of the environment; the smallest with enough GPUs a node when absent."""
    count: Annotated[int, Field(ge=1, le=8)] = 1
    """GPUs of each pod."""
    nodes: Annotated[int, Field(ge=1, le=64)] = 1
    """Pods of one training, each on a node of its own; more than one is a JobSet with torchrun."""
    capacity: Literal["any", "on-demand"] = "any"
    """`any` takes what is cheapest and may be preempted; `on-demand` is never preempted and costs twice as much."""
    priority: Literal["low", "normal", "high"] = "normal"
    """Who is admitted first when the queue is full."""
    max_hours: Annotated[float, Field(gt=0, le=720)] = 48
    """The training is stopped after this time, preemptions included."""


class Parameter(Spec):
    """What a sweep tries for one key of the training config: a list of values, or a range of numbers."""

    values: Annotated[tuple[Scalar, ...], Field(min_length=1, max_length=100)] | None = None
    """The values to try."""
    min: float | None = None
    """The smallest number to try."""
    max: float | None = None
    """The largest number to try."""
    log: bool = False
    """Spread numbers evenly over powers of ten instead of evenly over the range; right for learning rates."""
    points: Annotated[int, Field(ge=2, le=100)] | None = None
    """How many numbers of the range a grid has; `min` and `max` are the first and the last."""

    @model_validator(mode="after")
    def _list_or_range(self) -> Parameter:
        if self.values is not None:
            if (self.min, self.max, self.points) != (None, None, None) or self.log:
                raise ValueError("give values, or min and max, not both")
            if len({(type(value), value) for value in self.values}) < len(self.values):
                raise ValueError("a value is listed twice")
            return self
        if self.min is None or self.max is None:
            raise ValueError("give values, or min and max")
        if not (math.isfinite(self.min) and math.isfinite(self.max) and self.min < self.max):
            raise ValueError("min must be less than max, and both finite")
        if self.log and self.min <= 0:
            raise ValueError("log needs a min above 0")
        return self


class SweepBudget(Spec):
    """When a sweep starts no more trials. The best trial so far is still trained to its end."""

    hours: Annotated[float, Field(gt=0, le=10000, allow_inf_nan=False)] | None = None
    """Time of all trials together, in hours."""
    cost: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """On an environment, cost of all trials together, in the currency of the price list."""

    @model_validator(mode="after")
    def _needs_a_limit(self) -> SweepBudget:
        if self.hours is None and self.cost is None:
            raise ValueError("give hours or cost")
        return self


class Sweep(Spec):
    """Several trainings that differ in some keys of the training config; the best one goes on."""

    method: Literal["grid", "random", "asha"]
    """`grid` tries every combination, `random` draws them, `asha` draws them, trains all a little, and goes on with
    the best ones only (successive halving)."""
    parameters: Annotated[dict[str, Parameter], Field(min_length=1, max_length=20)]
    """Key of the training config -> what to try."""
    metric: Metric = "loss"
    """What decides which trial is best, measured on the held-out data or on the evaluation's questions."""
    trials: Annotated[int, Field(ge=1, le=MAX_TRIALS)] | None = None
    """How many trials; a grid has as many as it has combinations."""
    parallel: Annotated[int, Field(ge=1, le=100)] = 1
    """On an environment, how many trials run at once. On one machine they run one after another in one process."""
    budget: SweepBudget | None = None
    """When no more trials are started."""
    reduction: Annotated[int, Field(ge=2, le=10)] = 3
    """For `asha`: of so many trials one goes on, and trains so many times as long before the next choice."""
    min_steps: Annotated[int, Field(ge=1)] | None = None
    """For `asha`: the steps that every trial trains before the first choice."""
    seed: Annotated[int, Field(ge=0, le=2**32 - 1)] = 0
    """The same seed draws the same trials."""

    @model_validator(mode="after")
    def _fits_its_method(self) -> Sweep:
        if self.method == "grid":
            if self.trials is not None:
                raise ValueError("a grid tries every combination: remove trials, or use the method random")
        elif self.trials is None:
            raise ValueError(f"the method {self.method} needs trials")
        if (self.min_steps is not None) != (self.method == "asha"):
            raise ValueError("asha needs min_steps, and no other method has it")
        return self


class RunSpec(Spec):
    """A training config and everything around it."""

    name: Annotated[str, Field(pattern=NAME_PATTERN)]
    """The run's name: lower-case letters, digits and '-', at most 40."""
    training: str | dict[str, Any]
    """A LLaMA-Factory training config: a file, or the keys themselves."""
    overrides: dict[str, Scalar] = Field(default_factory=dict)
    """Keys of the training config that this run sets otherwise."""
    preset: Literal["auto", "fast", "none"] = "auto"
    """How a training step is computed, never what it learns: `auto` takes the fast way where measurements stand behind
    it (LoRA on packed rows in bf16 on an NVIDIA GPU), `fast` wherever it goes, `none` leaves LLaMA-Factory as it is."""
    base: Base | None = None
    """The base model; the training config's `model_name_or_path` when absent."""
    data: dict[str, DataVersion] = Field(default_factory=dict)
    """Name of a data set -> which version of it, where it is not in files here."""
    team: Annotated[str, Field(pattern=NAME_PATTERN)] | None = None
    """Who the run belongs to: recorded in its lineage, and on an environment its namespace, queue and budget."""
    schedule: Annotated[str, Field(pattern=CRON_PATTERN)] | None = None
    """On an environment, run again at these times: five cron fields, UTC."""
    resources: Resources = Resources()
    """What the training runs on."""
    recovery: Recovery = Recovery()
    """How the training survives interruptions, hangs and a loss that explodes."""
    sweep: Sweep | None = None
    """Try several values of some keys, and go on with the best."""
    evaluation: Evaluation = Evaluation()
    """What is measured."""
    gate: Gate | None = None
    """What must hold before publication; without it every trained model passes."""
    export: Export = Export()
    """The form of the published model."""
    publish: Publish | None = None
    """Where the model goes; without it the run ends with the exported folder."""
    serve: Serve | None = None
    """Serve the published model once as a last stage."""

    @field_validator("training")
    @classmethod
    def _training_is_given(cls, value: str | dict[str, Any]) -> str | dict[str, Any]:
        if not value:
            raise ValueError("name a training config file or write its keys here")
        return value

    @model_validator(mode="after")
    def _serve_needs_publish(self) -> RunSpec:
        if self.serve is not None and self.publish is None:
            raise ValueError("serve needs publish: only a published model is served")
        return self
