"""serve: proof that the published model can be served, by asking it something through its API."""

from __future__ import annotations

import time
from typing import Any

from workloads.errors import InputError, UnavailableError
from workloads.hub import open_hub
from workloads.hub.cache import cached
from workloads.hub.interface import ModelReference
from workloads.runtime import cache_dir
from workloads.stages.context import RunContext
from workloads.stages.runner import main


def run(context: RunContext) -> dict[str, Any]:
    """Starts the API on a free loopback port, asks the spec's question, and stops it."""
    import httpx

    from workloads.serving.app import create_app
    from workloads.serving.engine import load_engine
    from workloads.serving.server import serving

    wanted = context.spec.serve
    if wanted is None:
        raise InputError.of("The run spec has no serve part.", "add serve.question", key="serve")
    reference = context.outputs("publish")["reference"]
    hub = open_hub()
    folder = cached(hub, hub.resolve(ModelReference.parse(reference)), cache_dir())
    base = None if context.spec.export.merge or not context.is_lora else context.base_model
    engine = load_engine(folder, context.config.get("template"), base)
    with serving(create_app(engine, model_name=reference, api_key=None)) as url:
        started = time.monotonic()
        response = httpx.post(
            f"{url}/v1/chat/completions",
            json={"model": reference, "messages": [{"role": "user", "content": wanted.question}], "temperature": 0},
            timeout=120,
        )
        seconds = time.monotonic() - started
    if response.status_code != httpx.codes.OK:
        raise UnavailableError.of(
            f"The API answered {response.status_code}: {response.text[:300]}", "see logs/worker.log for the reason"
        )
    answer = response.json()["choices"][0]["message"]["content"]
    context.events.append("served", reference=reference, seconds=round(seconds, 3))
    return {"reference": reference, "question": wanted.question, "answer": answer, "seconds": round(seconds, 3)}


def intact(_context: RunContext) -> bool:
    """The proof is the recorded answer."""
    return True


if __name__ == "__main__":
    main("serve")
