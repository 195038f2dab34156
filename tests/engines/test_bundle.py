import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from workloads.engines.bundle import make_bundle, upload
from workloads.engines.create import plan
from workloads.errors import InputError, UnavailableError
from workloads.hub import open_hub
from workloads.hub.importing import import_folder
from workloads.run_record import RunRecord
from workloads.run_spec_loader import load_run_spec
from workloads.runtime import RunPaths
from workloads.stages.context import RunContext
from workloads.storage import manifest
from workloads.storage.object_directory import DirectoryStore
from workloads.training.arguments import training_arguments

Planned = Callable[..., RunRecord]


@pytest.fixture
def planned(make_run: Callable[..., RunPaths], built_tiny_model: Path, tmp_path: Path) -> Planned:
    """A planned run on the tiny model in the hub."""

    def make(config: dict[str, Any] | None = None, spec: dict[str, Any] | None = None) -> RunRecord:
        if not open_hub().models():
            import_folder(open_hub(), built_tiny_model, "tiny")
        make_run({"model_name_or_path": "tiny"} | (config or {}), spec)
        return plan(load_run_spec(tmp_path / "project" / "run.yaml"))

    return make


@pytest.fixture
def bundle(tmp_path: Path) -> RunPaths:
    return RunPaths(tmp_path / "bundle")


def test_everything_lies_inside_and_no_path_leads_outside(planned: Planned, bundle: RunPaths, tmp_path: Path) -> None:
    project = tmp_path / "project"
    project.mkdir()
    (project / "baseline.json").write_text('{"loss": 1}')
    (project / "zero.json").write_text('{"train_batch_size": "auto"}')
    spec = {
        "evaluation": {"questions": {"file": "questions.jsonl"}},
        "gate": {"baseline": "baseline.json", "rules": [{"metric": "loss", "tolerance": 1}]},
    }
    record = planned({"deepspeed": str(project / "zero.json")}, spec)
    portable = make_bundle(record, bundle)
    assert RunRecord.read(bundle) == portable
    assert (portable.id, portable.config_digest) == (record.id, record.config_digest)
    config = portable.training_config
    files = [each.file for each in portable.datasets]
    for path in (
        *files,
        portable.dataset_info,
        f"{portable.spec_dir}/",
        config["deepspeed"],
        f"{config['media_dir']}/",
    ):
        assert path.startswith("inputs/")
    for folder in ("data", "media", "settings"):
        assert manifest.damage(bundle.inputs / folder) == []

    elsewhere = RunPaths(tmp_path / "elsewhere")
    bundle.root.rename(elsewhere.root)
    project.rename(tmp_path / "gone")
    context = RunContext.open(elsewhere.root)
    assert manifest.sha256_file(context.file(context.record.datasets[0].file)) == record.datasets[0].sha256
    assert list(json.loads(context.file(context.record.dataset_info).read_text())) == ["numbers"]
    questions, gate = context.spec.evaluation.questions, context.spec.gate
    assert questions is not None
    assert gate is not None
    assert "Say 3." in context.spec_file(questions.file).read_text()
    assert json.loads(context.spec_file(str(gate.baseline)).read_text()) == {"loss": 1}
    arguments = training_arguments(context.config, context.paths, Path("base"))
    assert json.loads(Path(arguments["deepspeed"]).read_text()) == {"train_batch_size": "auto"}
    assert Path(arguments["media_dir"]).is_dir()


def test_what_a_named_file_says_decides_the_id_and_not_where_it_lies(planned: Planned, tmp_path: Path) -> None:
    (tmp_path / "project").mkdir()
    here, there = tmp_path / "project" / "a.json", tmp_path / "project" / "b.json"
    here.write_text('{"train_batch_size": "auto"}')
    there.write_text('{"train_batch_size": "auto"}')
    first = planned({"deepspeed": str(here)}).id
    assert planned({"deepspeed": str(there)}).id == first
    there.write_text('{"train_batch_size": 4}')
    assert planned({"deepspeed": str(there)}).id != first


def test_media_go_along_under_the_names_that_the_rows_have(planned: Planned, bundle: RunPaths, tmp_path: Path) -> None:
    record = planned()
    rows = [{"instruction": "<image>?", "output": "a", "images": ["cats/1.png"]}, {"output": "b", "images": None}]
    data, info = Path(record.datasets[0].file), Path(record.dataset_info)
    (data.parent / "cats").mkdir()
    (data.parent / "cats" / "1.png").write_bytes(b"picture")
    (data.parent / "other.png").write_bytes(b"not named by any row")

    def with_rows(rows: list[dict[str, Any]]) -> RunRecord:
        data.write_text(json.dumps(rows))
        info.write_text(json.dumps({"numbers": {"file_name": "numbers.json", "columns": {"images": "images"}}}))
        return replace(record, datasets=(replace(record.datasets[0], sha256=manifest.sha256_file(data)),))

    make_bundle(with_rows(rows), bundle)
    assert [each.path for each in manifest.scan(bundle.inputs / "media").files] == ["cats/1.png"]
    for path in ("../secret.png", "/etc/hostname", "cats/2.png"):
        with pytest.raises(InputError, match="Row 1 names") as caught:
            make_bundle(with_rows([{"images": [path]}]), bundle)
        assert caught.value.problems[0].file == str(data)


def test_a_base_model_that_is_a_folder_is_to_be_imported_first(
    make_run: Callable[..., RunPaths], bundle: RunPaths, tmp_path: Path
) -> None:
    make_run()
    record = plan(load_run_spec(tmp_path / "project" / "run.yaml"))
    with pytest.raises(InputError, match="folder of this machine") as caught:
        make_bundle(record, bundle)
    assert "tunery import" in caught.value.problems[0].fix
    assert not bundle.record.exists()


def test_data_that_changed_since_the_plan_is_refused(planned: Planned, bundle: RunPaths) -> None:
    record = planned()
    Path(record.datasets[0].file).write_text("[]")
    with pytest.raises(InputError, match="has changed"):
        make_bundle(record, bundle)
    assert not bundle.record.exists()


def test_two_that_send_the_same_run_at_once_send_one(planned: Planned, tmp_path: Path) -> None:
    record = planned()
    bundles = [RunPaths(tmp_path / f"bundle-{number}") for number in range(4)]
    for number, each in enumerate(bundles):
        make_bundle(replace(record, created=f"2025-01-0{number + 1}T00:00:00+00:00"), each)
    store = DirectoryStore(tmp_path / "store")
    with ThreadPoolExecutor(4) as pool:
        created = list(pool.map(lambda each: upload(each, store, record.id), bundles))
    assert created.count(True) == 1
    assert store.read(f"{record.id}/run.json") == bundles[created.index(True)].record.read_bytes()
    assert not upload(bundles[0], store, record.id)


def test_the_record_is_last_and_an_upload_that_was_cut_off_goes_on(
    planned: Planned, bundle: RunPaths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = planned()
    make_bundle(record, bundle)
    store = DirectoryStore(tmp_path / "store")
    real = DirectoryStore.write

    def fail(self: DirectoryStore, key: str, *arguments: Any, **options: Any) -> bool:
        if key.endswith("training.yaml"):
            raise UnavailableError.of("The store is away.", "wait")
        return real(self, key, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(DirectoryStore, "write", fail)
        with pytest.raises(UnavailableError):
            upload(bundle, store, record.id)
    assert store.read(f"{record.id}/run.json") is None
    assert upload(bundle, store, record.id)
