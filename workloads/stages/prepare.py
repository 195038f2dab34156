"""prepare: the run's own copy of its data, and the data tokenized once."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from workloads.errors import InputError
from workloads.stages import remote_data
from workloads.stages.context import RunContext
from workloads.stages.runner import main
from workloads.storage import manifest
from workloads.training.arguments import preparation_stage, training_arguments


def run(context: RunContext) -> dict[str, Any]:
    """Copies and tokenizes the data into ``data/``, manifest last."""
    data = context.paths.data
    shutil.rmtree(data, ignore_errors=True)
    data.mkdir(parents=True)
    _copy(context)
    rows: dict[str, int] = {} if context.config.get("streaming") else _tokenize(context)
    return {"rows": rows, "digest": manifest.commit(data).digest}


def intact(context: RunContext) -> bool:
    """Whether the prepared data is still whole."""
    return not manifest.damage(context.paths.data, full=False)


def _copy(context: RunContext) -> None:
    """The run keeps its own data: what it was trained on stays known, whatever happens to the source."""
    registered = json.loads(context.file(context.record.dataset_info).read_text(encoding="utf-8"))
    files: dict[str, list[Path]] = {}
    for dataset in context.record.datasets:
        source = context.file(dataset.file)
        if not source.is_file() or manifest.sha256_file(source) != dataset.sha256:
            raise InputError.of(
                "This data file has changed since the run was created.",
                "start a new run: its id names the new content",
                file=source,
            )
        files.setdefault(dataset.name, []).append(source)
    entries: dict[str, dict[str, Any]] = {}
    for name in (each.name for each in context.record.remote_datasets):
        folder = context.paths.data / f"{len(entries):02d}"
        folder.mkdir()
        entry = remote_data.write_rows(context, name, registered[name], folder)
        entries[name] = {**entry, "file_name": f"{folder.name}/{entry['file_name']}"}
    for number, (name, sources) in enumerate(files.items(), start=len(entries)):
        folder = context.paths.data / f"{number:02d}"
        folder.mkdir()
        for source in sources:
            shutil.copyfile(source, folder / source.name)
        place = f"{folder.name}/{sources[0].name}" if len(sources) == 1 else folder.name
        entries[name] = {**registered[name], "file_name": place}
    text = json.dumps(entries, indent=2, ensure_ascii=False)
    (context.paths.data / "dataset_info.json").write_text(text, encoding="utf-8")


def _tokenize(context: RunContext) -> dict[str, int]:
    """Lets LLaMA-Factory tokenize the data to disk; rows of each split."""
    from llamafactory.data import get_dataset, get_template_and_fix_tokenizer
    from llamafactory.hparams import get_train_args
    from llamafactory.model import load_tokenizer

    arguments = training_arguments(context.config, context.paths, context.base_model)
    model_args, data_args, training_args, _, _ = get_train_args(arguments)
    tokenizer_module = load_tokenizer(model_args)
    template = get_template_and_fix_tokenizer(tokenizer_module["tokenizer"], data_args)
    dataset = get_dataset(
        template,
        model_args,
        data_args,
        training_args,
        stage=preparation_stage(context.config),
        **tokenizer_module,
    )
    held_out = dataset.get("eval_dataset")
    rows = {"train": len(dataset["train_dataset"])}
    if isinstance(held_out, dict):
        rows |= {name: len(each) for name, each in held_out.items()}
    elif held_out is not None:
        rows["validation"] = len(held_out)
    return rows


if __name__ == "__main__":
    main("prepare")
