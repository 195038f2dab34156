"""Names and paths that more than one part of a run must agree on, written once.

A run directory holds everything about one run; each stage writes only its own part::

    RUN_DIR/
      run.json            the resolved run: id, spec, base model, digests (written last when a run is created)
      training.yaml       the training config after overrides, as the user means it
      events.jsonl        one JSON object a line: stages, saves, preemptions, resumes
      progress.json       where training is now; replaced atomically at each log
      stages/NAME.json    marker of a finished stage: outputs, seconds
      inputs/             what a run that is sent to an environment takes along: data/, media/, settings/
      fetched/            on an environment: the data sets that the fetch stage brought
      data/               dataset_info.json, the data files, tokenized/
      checkpoints/        LLaMA-Factory's output_dir, with checkpoint-N/
      damaged/            checkpoints that did not verify
      trained/            the final adapter or weights
      evaluation.json     metrics before and after, gate, sample answers
      export/             the model that is published
      logs/worker.log     what LLaMA-Factory printed
      report.html
      sweep.json          of a sweep: all trials, what they reached and the best one
      trials/NNN/         of a sweep: the run directory of a trial, with result.json
      rungs/N.json        of a sweep on an environment: the trials that go on to round N
      leases/STAGE/N.json on an environment: the pods that took over a stage, the newest with the highest number
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

STAGES = ("fetch", "prepare", "train", "evaluate", "export", "publish", "serve")
"""The stages of a run, in order."""

ENV_RUNS = "TUNERY_RUNS"
ENV_HUB = "TUNERY_HUB"
ENV_CACHE = "TUNERY_CACHE"
ENV_API_KEY = "TUNERY_API_KEY"
ENV_PLATFORM = "TUNERY_PLATFORM"
ENV_PRICES = "TUNERY_PRICES"
ENV_IMAGES = "TUNERY_IMAGES"
ENV_STORE = "TUNERY_STORE"
ENV_MODELS_STORE = "TUNERY_MODELS_STORE"
ENV_SCRATCH = "TUNERY_SCRATCH"
ENV_GRACE = "TUNERY_GRACE_SECONDS"
ENV_SECRETS = "TUNERY_SECRETS"
ENV_PROCESSES = "TUNERY_PROCESSES"
ENV_LAST_CALL = "TUNERY_LAST_CALL_SECONDS"
"""How long the fewest nodes of an elastic training wait for more."""
ENV_IMAGE = "TUNERY_IMAGE"
"""Which of tunery's images this is; they set it themselves."""
ENV_GPUS = "TUNERY_GPUS"
"""How many GPUs a pod was promised."""
ENV_SWEEP_HOURS = "TUNERY_SWEEP_HOURS"
"""How many hours of trials the cost in a sweep's budget buys on the environment."""
ENV_BUNDLE = "TUNERY_BUNDLE"
"""The run whose inputs a firing of a schedule starts from."""
ENV_CACHE_LIMIT = "TUNERY_CACHE_LIMIT"
"""The most bytes that the model cache may take, such as 200GB; no limit when it is absent."""
ENV_ARTIFACTORY = "TUNERY_ARTIFACTORY_URL"
"""The address of Artifactory; when it is set, Artifactory is the hub."""
ENV_ARTIFACTORY_MODELS = "TUNERY_ARTIFACTORY_MODELS"
"""Artifactory's repository of base models, of the Hugging Face kind."""
ENV_ARTIFACTORY_PUBLISHED = "TUNERY_ARTIFACTORY_PUBLISHED"
"""Artifactory's generic repository of published models."""
ENV_ARTIFACTORY_TOKEN = "TUNERY_ARTIFACTORY_TOKEN"  # noqa: S105 a variable's name
ENV_ARTIFACTORY_TOKEN_FILE = "TUNERY_ARTIFACTORY_TOKEN_FILE"  # noqa: S105 a variable's name
ARTIFACTORY_SECRET = "artifactory-token"  # noqa: S105 a file's name
"""The file, in the folder of a pod's secrets, that holds the token for Artifactory."""
ENV_HF_ENDPOINT = "HF_ENDPOINT"
"""What the official client of Hugging Face takes for the Hub."""
ENV_SIGNING_KEY = "TUNERY_SIGNING_KEY"
"""A file with the private key, in PEM, that signs where published models came from."""
ENV_SIGNING_PUBLIC_KEY = "TUNERY_SIGNING_PUBLIC_KEY"
"""The public keys, in PEM, that such signatures are checked with, or the file that holds them."""
SIGNING_SECRET = "signing-key"  # noqa: S105 a file's name
"""The file, in the folder of a pod's secrets, that holds that private key."""

OFFLINE = {
    "HF_HUB_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DISABLE_VERSION_CHECK": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "WANDB_DISABLED": "true",
    "PYTHONUNBUFFERED": "1",
}
"""What keeps the training stack from calling anybody, wherever it runs."""

POD_SCRATCH = "/scratch"
"""Where a pod works: local SSD on a node that has one."""
POD_SECRETS = "/var/run/secrets/tunery"
"""Where the secrets of a pod's role are mounted, one file each."""
MASTER_PORT = 29500
"""Where torchrun's ranks meet; fixed, since LLaMA-Factory draws a random one in each process."""


@dataclass(frozen=True, slots=True)
class RunPaths:
    """Where each thing of one run lies."""

    root: Path

    @property
    def record(self) -> Path:
        return self.root / "run.json"

    @property
    def training_config(self) -> Path:
        return self.root / "training.yaml"

    @property
    def events(self) -> Path:
        return self.root / "events.jsonl"

    @property
    def progress(self) -> Path:
        return self.root / "progress.json"

    @property
    def inputs(self) -> Path:
        return self.root / "inputs"

    @property
    def fetched(self) -> Path:
        return self.root / "fetched"

    @property
    def data(self) -> Path:
        return self.root / "data"

    @property
    def tokenized(self) -> Path:
        return self.data / "tokenized"

    @property
    def checkpoints(self) -> Path:
        return self.root / "checkpoints"

    @property
    def trained(self) -> Path:
        return self.root / "trained"

    @property
    def damaged(self) -> Path:
        return self.root / "damaged"

    @property
    def evaluation(self) -> Path:
        return self.root / "evaluation.json"

    @property
    def export(self) -> Path:
        return self.root / "export"

    @property
    def log(self) -> Path:
        return self.root / "logs" / "worker.log"

    @property
    def report(self) -> Path:
        return self.root / "report.html"

    @property
    def sweep(self) -> Path:
        return self.root / "sweep.json"

    @property
    def lock(self) -> Path:
        return self.root / ".lock"

    def trial(self, number: int) -> Path:
        """The run directory of a sweep's trial."""
        return self.root / "trials" / f"{number:03d}"

    def rung(self, number: int) -> Path:
        """Of a sweep on an environment, the file that says which trials go on to a round."""
        return self.root / "rungs" / f"{number}.json"

    def marker(self, stage: str) -> Path:
        """The file whose presence means that ``stage`` is finished."""
        return self.root / "stages" / f"{stage}.json"


def runs_dir(environ: Mapping[str, str] = os.environ) -> Path:
    """Where local runs go: ``$TUNERY_RUNS``, else ``runs`` in the working directory."""
    return Path(environ.get(ENV_RUNS) or "runs")


def hub_dir(environ: Mapping[str, str] = os.environ) -> Path:
    """Where the directory hub lies: ``$TUNERY_HUB``, else ``hub`` in the user's data folder."""
    configured = environ.get(ENV_HUB)
    if configured:
        return Path(configured)
    from platformdirs import user_data_path

    return user_data_path("tunery") / "hub"


def cache_dir(environ: Mapping[str, str] = os.environ) -> Path:
    """Where fetched base models are kept: ``$TUNERY_CACHE``, else the user's cache folder."""
    configured = environ.get(ENV_CACHE)
    if configured:
        return Path(configured)
    from platformdirs import user_cache_path

    return user_cache_path("tunery")


def platform_dir(environ: Mapping[str, str] = os.environ) -> Path:
    """Where the platform contracts lie: ``$TUNERY_PLATFORM``, else ``configs/platform`` in the working directory."""
    return Path(environ.get(ENV_PLATFORM) or "configs/platform")


def price_list(environ: Mapping[str, str] = os.environ) -> Path:
    """The price list: ``$TUNERY_PRICES``, else ``configs/prices.json`` in the working directory."""
    return Path(environ.get(ENV_PRICES) or "configs/prices.json")


def signing_key(environ: Mapping[str, str] = os.environ) -> Path | None:
    """The private key that signs: ``$TUNERY_SIGNING_KEY``, else ``signing-key`` among a pod's secrets, else none."""
    if configured := environ.get(ENV_SIGNING_KEY):
        return Path(configured)
    mounted = Path(environ[ENV_SECRETS], SIGNING_SECRET) if environ.get(ENV_SECRETS) else None
    return mounted if mounted is not None and mounted.is_file() else None


def image_lock(environ: Mapping[str, str] = os.environ) -> Path:
    """The digests of the images: ``$TUNERY_IMAGES``, else ``configs/images.lock.json`` in the working directory."""
    return Path(environ.get(ENV_IMAGES) or "configs/images.lock.json")
