"""``tunery serve``: a model over an OpenAI-compatible API."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from concurrent.futures import Future

    from workloads.serving.interface import Engine
    from workloads.serving.source import ServedModel


def serve(
    model: Annotated[str, typer.Argument(help="NAME, NAME@VERSION, NAME@ALIAS or a model's folder.")],
    port: Annotated[int, typer.Option(min=0, max=65535, help="Where to listen; 0 takes a free port.")] = 8000,
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 is every one.")] = "127.0.0.1",
    template: Annotated[str | None, typer.Option(help="LLaMA-Factory's chat template; default: the model's.")] = None,
    max_concurrent: Annotated[int, typer.Option(min=1, help="Answers generated at once.")] = 4,
    max_waiting: Annotated[int, typer.Option(min=0, help="Requests that may wait; more get 429.")] = 64,
    request_timeout: Annotated[float, typer.Option(min=0.1, help="Seconds that one request may take.")] = 300.0,
    drain: Annotated[int, typer.Option(min=0, help="Seconds that running requests get to end after SIGTERM.")] = 30,
    as_json: Annotated[bool, typer.Option("--json", help="Print the address as JSON, then serve.")] = False,
) -> None:
    """Serve a model over an OpenAI-compatible API.

    Clients must send the key in the environment variable TUNERY_API_KEY, when it is set.

    Example: tunery serve tunery/demo-assistant@production --port 8000
    """
    import ipaddress
    import os

    from workloads.cli.output import console, print_json
    from workloads.runtime import ENV_API_KEY
    from workloads.serving.source import find_model

    served = find_model(model)
    from workloads.serving.server import address, bind, run_server

    listener = bind(host, port)
    url = address(listener)
    api_key = os.environ.get(ENV_API_KEY) or None
    out = console(stderr=True)
    if as_json:
        print_json({"url": url, "model": served.name, "version": served.version, "digest": served.digest})
    if api_key is None and not ipaddress.ip_address(listener.getsockname()[0]).is_loopback:
        out.print(f"Anybody who reaches {url} can use the model: set {ENV_API_KEY}.", style="yellow", markup=False)
    if served.is_plain(template):
        out.print("The model has no chat template: it reads bare text. Name one by --template.", style="yellow")
    out.print(f"Loading {served.name} ...", markup=False)

    from workloads.serving.app import Limits, create_app

    loading = _load(served, template)
    app = create_app(
        loading,
        model_name=served.name,
        api_key=api_key,
        other_names=served.other_names,
        version=served.version,
        digest=served.digest,
        limits=Limits(max_concurrent, max_waiting, request_timeout),
    )

    def ready() -> None:
        out.print(f"Serving {served.name} at {url}/v1 (stop with Ctrl-C).", style="green", markup=False)

    run_server(app, listener, loading=loading, drain_seconds=drain, on_ready=ready)


def _load(served: ServedModel, template: str | None) -> Future[Engine]:
    """Loads in a thread, so that /health answers meanwhile."""
    import threading
    from concurrent.futures import Future

    loading: Future[Any] = Future()

    def load() -> None:
        from workloads.serving.quiet import quiet_libraries

        try:
            quiet_libraries()
            from workloads.serving.engine import load_engine

            loading.set_result(load_engine(served.folder, template, served.base, served.training_config))
        except BaseException as error:  # whatever it is, the server must stop and say it
            loading.set_exception(error)

    # daemon: a server that is told to stop while it loads stops at once
    threading.Thread(target=load, name="load", daemon=True).start()
    return loading
