"""``tunery ci``: what continuous integration does with a push."""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any

import typer

from workloads.cli.cluster_verbs import Context, Json
from workloads.cli.output import console, print_json
from workloads.errors import InputError

if TYPE_CHECKING:
    from workloads.ci.submission import Outcome
    from workloads.engines.cluster_client import Cluster
    from workloads.platform import Platform
    from workloads.render.run import ClusterRun
    from workloads.run_record import RunRecord

_BASE = typer.Option(metavar="REV", help="The commit to compare with: a branch, a tag, its digits.")


def ci() -> None:
    """Check what a push changes, and send its runs.

    For Cloud Build, or any other continuous integration. A config has changed when what decides its result has:
    values, data, questions. Comments and times are no change.

    Examples:

      tunery ci plan --base origin/main --on prod

      tunery ci submit --on prod
    """


def plan(
    base: Annotated[str, _BASE] = "origin/main",
    on: Annotated[str | None, typer.Option("--on", metavar="ENV", help="Where the runs are for.")] = None,
    hub: Annotated[
        bool, typer.Option("--hub/--no-hub", help="Look base models up; else configs/models/NAME/config.json counts.")
    ] = True,
    comment: Annotated[
        Path | None, typer.Option("--comment", metavar="FILE", help="Also write the Markdown to a file.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Check, estimate and cost every config that changed, as Markdown for a pull request.

    The exit code is 64 when one is refused: it does not check, or asks for more than its team may have.

    Example: tunery ci plan --base origin/main --on prod
    """
    from workloads import platform
    from workloads.ci.changes import changes, configs
    from workloads.ci.comment import comment as written
    from workloads.ci.planning import plan_changes
    from workloads.ci.repository import Repository
    from workloads.hub import use_hub_of
    from workloads.storage.atomic import write_text

    environment = platform.load(on) if on is not None else None
    if environment is not None:
        use_hub_of(environment)
    repository = Repository.around(Path.cwd())
    everything = list(configs(repository.root))
    found = changes(repository, everything, repository.meeting_point(base))
    planned = plan_changes(found, environment, hub=hub)
    text = written(planned, len(everything) - len(found), on)
    if comment is not None:
        write_text(comment, text)
    refused = any(each.refused for each in planned)
    if as_json:
        print_json({"ok": not refused, "configs": [each.as_dict() for each in planned], "markdown": text})
    else:
        print(text, end="")  # noqa: T201 a comment, as it is
    if refused:
        raise typer.Exit(64)


def submit(
    on: Annotated[str, typer.Option("--on", metavar="ENV", help="The environment.", show_default=False)],
    base: Annotated[str | None, _BASE] = None,
    context: Context = None,
    login: Annotated[
        bool, typer.Option("--login", help="Use the Google account of this machine, and no kubeconfig.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Write or show what would be sent, and stop.")] = False,
    to: Annotated[
        Path | None, typer.Option("--to", metavar="DIR", help="With --dry-run: a folder for the manifests.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Send the runs whose spec changed; one that was sent before stays as it is.

    Without --base, the commit up to which the environment has a team's runs is compared with, or the commit before
    HEAD when it has none. One that is refused holds no other back; the exit code tells that there was one.

    Example: tunery ci submit --on prod
    """
    from workloads import platform
    from workloads.ci.repository import Repository
    from workloads.ci.submission import changed_runs, failure
    from workloads.ci.submission import submit as submitted
    from workloads.hub import use_hub_of

    environment = platform.load(on)
    use_hub_of(environment)
    repository = Repository.around(Path.cwd())
    found = changed_runs(repository, environment, base, ask_stores=not dry_run)
    if dry_run:
        from workloads.ci.planning import plan_changes

        planned = plan_changes(found.changes, environment)
        if problems := [problem for each in planned for problem in each.problems]:
            raise InputError(problems)
        _show_manifests([repository.root / each.change.config.place for each in planned], on, to, as_json=as_json)
        return
    send = _Sending(environment, context, login=login)
    outcomes = submitted(repository, environment, found, send.plan, send)
    if as_json:
        print_json({"ok": failure(outcomes) is None, "runs": [each.as_dict() for each in outcomes]})
    else:
        _show(outcomes, on)
    if error := failure(outcomes):
        raise typer.Exit(int(error.exit_code)) if as_json else error


def propose(
    file: Annotated[Path, typer.Argument(help="The file, as it shall be; relative to the repository.")],
    repository: Annotated[str, typer.Option(metavar="OWNER/NAME", help="The repository on GitHub.")],
    commit: Annotated[str, typer.Option(metavar="SHA", help="What the file was changed from.")],
    base: Annotated[str, typer.Option(metavar="BRANCH", help="The branch that shall have it.")],
    title: Annotated[str, typer.Option(help="What the pull request says.")] = "Lock the images that were built",
    api: Annotated[
        str, typer.Option(envvar="TUNERY_REPOSITORY_API", help="The REST API; of GitHub Enterprise, that of your host.")
    ] = "https://api.github.com",
    as_json: Json = False,
) -> None:
    """Open a pull request that changes one file. TUNERY_REPOSITORY_TOKEN holds the token.

    Example: tunery ci propose configs/images.lock.json --repository example/llm --commit 1a2b3c --base main
    """
    from workloads.ci.proposal import ENV_TOKEN, GitHub, Proposal

    token = os.environ.get(ENV_TOKEN, "")
    if not token:
        raise InputError.of("No token for the repository is given.", f"set {ENV_TOKEN}")
    if file.is_absolute() or not file.is_file():
        raise InputError.of("There is no such file here.", "name it relative to the repository", file=file)
    address = GitHub(token, api).propose(Proposal(repository, commit, base, file.as_posix(), file.read_bytes(), title))
    if as_json:
        print_json({"ok": True, "pull_request": address})
    else:
        console().print(address, markup=False)


COMMANDS = {"plan": plan, "submit": submit, "propose": propose}


class _Sending:
    """Sends runs over one connection, which is opened for the first of them."""

    def __init__(self, environment: Platform, context: str | None, *, login: bool) -> None:
        self._environment, self._context = environment, context
        self._login = login and environment.local is None
        self._cluster: Cluster | None = None

    def plan(self, spec: Path) -> tuple[RunRecord, ClusterRun]:
        from workloads.cli.environment_run import planned

        return planned(spec, (), self._environment.environment)

    def __call__(self, record: RunRecord, run: ClusterRun) -> str:
        from workloads.cli.environment_run import transmit

        self._cluster = self._cluster or self._open()
        _, submission = transmit(self._cluster, record, run, self._context, quiet=True)
        return str(submission.sent)

    def _open(self) -> Cluster:
        from workloads.ci.login import write_kubeconfig
        from workloads.cli.environment_run import open_environment

        if not self._login:
            return open_environment(self._environment, self._context)
        with TemporaryDirectory(prefix="tunery-login-") as folder:
            path = Path(folder, "kubeconfig")
            write_kubeconfig(self._environment, path)
            os.environ["KUBECONFIG"] = str(path)  # read when the client is first imported
            return open_environment(self._environment, self._context)


def _show_manifests(specs: list[Path], environment: str, to: Path | None, *, as_json: bool) -> None:
    from workloads.cli.environment_run import planned
    from workloads.render.pipeline import file_name, objects
    from workloads.render.text import to_documents, to_yaml
    from workloads.storage.atomic import write_text

    runs = {run.id: objects(run) for _, run in (planned(spec, (), environment) for spec in specs)}
    if to is not None:
        for name, manifests in runs.items():
            for manifest in manifests:
                write_text(to / name / file_name(manifest), to_yaml(manifest))
    if as_json:
        answer: dict[str, Any] = {"ok": True, "runs": [{"id": name, "manifests": each} for name, each in runs.items()]}
        print_json(answer)
    elif to is not None:
        console().print(f"{len(runs)} run{'' if len(runs) == 1 else 's'} in {to}", markup=False)
    else:
        print(to_documents([each for manifests in runs.values() for each in manifests]), end="")  # noqa: T201


def _show(outcomes: list[Outcome], environment: str) -> None:
    out = console()
    for each in outcomes:
        out.print(f"{each.file}: {each.state}{f', {each.id}' if each.id else ''}", markup=False)
    if not outcomes:
        out.print(f"no run changed for {environment}", markup=False)
