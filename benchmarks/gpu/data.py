"""What the cases train on: a tokenizer, 1000 short exchanges as in alpaca_en_demo, and rows of full length.

Nothing is downloaded. The text is the repository's own; lengths are drawn so that their mean is alpaca_en_demo's, 186
tokens. LLaMA-Factory tokenizes and packs it. All of it is made once, on any machine: ``python -m benchmarks.gpu
prepare FOLDER``.
"""

from __future__ import annotations

import json
import math
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.gpu.architectures import ARCHITECTURES

ROOT = Path(__file__).parents[2]
SAMPLES, MEAN_TOKENS, SPREAD, LONGEST = 1000, 186, 0.75, 1200
_MARKS = 38
"""Tokens that the template adds: its marks, the roles, and the default system prompt."""
_VOCABULARY = 16384
_END, _START, _STOP = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
_ROWS_TOKENS = 1 << 17
LENGTHS = (1024, 2048, 4096, 8192)
PACKED, ISOLATED = "packed", "isolated"


def prepare(folder: Path) -> None:
    """Makes everything below ``folder``, unless it is there."""
    if (folder / "done").is_file():
        return
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    tokenizer = _tokenizer(folder / "tokenizer")
    for name, config in ARCHITECTURES.items():
        model = folder / "models" / name
        model.mkdir(parents=True)
        for part in (folder / "tokenizer").iterdir():
            (model / part.name).symlink_to(Path("..", "..", "tokenizer", part.name))
        ids = {"bos_token_id": None, "eos_token_id": tokenizer.token_to_id(_STOP)}
        (model / "config.json").write_text(json.dumps(config | ids, indent=2))
    _exchanges(folder, tokenizer)
    for name, neat in ((PACKED, False), (ISOLATED, True)):
        _tokenized(folder, folder / name, neat)
    for length in LENGTHS:
        _full_rows(folder / f"full-{length}", length)
    (folder / "done").touch()


def _texts() -> Iterator[str]:
    for pattern in ("docs/**/*.md", "workloads/**/*.py", "infra/**/*.py", "tests/**/*.py"):
        for path in sorted(ROOT.glob(pattern)):
            yield path.read_text(encoding="utf-8")


def _tokenizer(folder: Path) -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=_VOCABULARY,
        special_tokens=[_END, _START, _STOP],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_texts(), trainer)
    folder.mkdir()
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": 32768,
        "eos_token": _STOP,
        "pad_token": _END,
        "additional_special_tokens": [_START],
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return tokenizer


def _exchanges(folder: Path, tokenizer: Any) -> None:
    words = tokenizer.encode("\n".join(_texts()), add_special_tokens=False).ids
    chance = random.Random(20)  # noqa: S311 a sample of lengths, no secret
    mean = math.log(MEAN_TOKENS - _MARKS) - SPREAD**2 / 2

    def span(tokens: int) -> str:
        start = chance.randrange(len(words) - tokens)
        return str(tokenizer.decode(words[start : start + tokens]))

    rows = []
    for _ in range(SAMPLES):
        tokens = min(LONGEST, max(12, round(chance.lognormvariate(mean, SPREAD))))
        asked = max(6, min(tokens // 3, chance.randrange(8, 40)))
        rows.append({"instruction": span(asked), "input": "", "output": span(tokens - asked)})
    (folder / "exchanges.json").write_text(json.dumps(rows))
    (folder / "dataset_info.json").write_text(json.dumps({"exchanges": {"file_name": "exchanges.json"}}))


def _tokenized(folder: Path, place: Path, neat: bool) -> None:
    from llamafactory.data import get_dataset, get_template_and_fix_tokenizer
    from llamafactory.hparams import get_train_args
    from llamafactory.model import load_tokenizer

    values = {
        "stage": "sft",
        "do_train": True,
        "model_name_or_path": str(folder / "models" / "tiny"),
        "dataset_dir": str(folder),
        "dataset": "exchanges",
        "template": "qwen",
        "cutoff_len": 2048,
        "packing": True,
        "neat_packing": neat,
        "tokenized_path": str(place),
        "output_dir": str(folder / "unused"),
        "report_to": "none",
    }
    model_args, data_args, training_args, _, _ = get_train_args(values)
    loaded = load_tokenizer(model_args)
    template = get_template_and_fix_tokenizer(loaded["tokenizer"], data_args)
    get_dataset(template, model_args, data_args, training_args, stage="sft", **loaded)


def _full_rows(place: Path, length: int) -> None:
    """Rows of ``length`` tokens; each eighth is shorter, so that a batch of several has padding, as real ones do."""
    from datasets import Dataset, DatasetDict

    chance = random.Random(length)  # noqa: S311 tokens, no secrets
    rows = []
    for number in range(min(64, _ROWS_TOKENS // length)):
        tokens = length - (length // 8 if number % 8 == 7 else 0)
        ids = [chance.randrange(3, _VOCABULARY) for _ in range(tokens)]
        rows.append({"input_ids": ids, "attention_mask": [1] * tokens, "labels": ids})
    DatasetDict({"train": Dataset.from_list(rows)}).save_to_disk(str(place))
