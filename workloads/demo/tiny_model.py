"""The tiny base model: a real Llama with its own tokenizer, trained from nothing in a few seconds on one CPU thread.

The same seed gives the same bytes on the same kind of processor with the same torch; another processor may round
differently.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workloads.demo.corpus import documents
from workloads.errors import InputError

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from torch import Tensor

END_OF_TEXT, TURN_START, TURN_END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
CONTEXT = 256
"""Longest sequence, in tokens."""
_VOCABULARY = 768
_WIDTH, _LAYERS, _HEADS, _INNER = 96, 2, 4, 192
_DOCUMENTS, _STEPS, _ROWS, _LEARNING_RATE = 5000, 700, 8, 3e-3
_INITIAL_SPREAD = 0.08
"""Wider than Llama's 0.02, which is meant for wide layers: with that, heads that copy a name do not form in time."""
_CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def build_tiny_model(destination: Path, seed: int = 7) -> Path:
    """Trains the tiny base model and writes it to ``destination`` in Hugging Face's layout (1 MB, float32).

    Raises:
        InputError: ``destination`` exists and is not an empty folder.
    """
    if destination.exists() and (not destination.is_dir() or any(destination.iterdir())):
        raise InputError.of(f"{destination} exists and is not empty.", "name a folder that does not exist yet")
    destination.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=destination.parent, prefix=f".{destination.name}.") as name:
        made = Path(name) / "model"
        made.mkdir()
        texts = list(islice(documents(seed), _DOCUMENTS))
        tokenizer = _tokenizer(texts)
        _write_tokenizer(tokenizer, made)
        _pretrain(tokenizer, texts, seed).save_pretrained(made)
        if destination.exists():
            destination.rmdir()
        shutil.move(made, destination)
    return destination


def _tokenizer(texts: list[str]) -> Tokenizer:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=_VOCABULARY,
        special_tokens=[END_OF_TEXT, TURN_START, TURN_END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def _write_tokenizer(tokenizer: Tokenizer, folder: Path) -> None:
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",  # known to transformers 4 and 5 alike
        "model_max_length": CONTEXT,
        "bos_token": None,
        "eos_token": TURN_END,
        "pad_token": END_OF_TEXT,
        "additional_special_tokens": [TURN_START],
        "clean_up_tokenization_spaces": False,
        "chat_template": _CHAT_TEMPLATE,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")


def _pretrain(tokenizer: Tokenizer, texts: list[str], seed: int) -> Any:
    import torch
    from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # sums in one order, and no fight with other work on a small machine
    try:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            end, stop = tokenizer.token_to_id(END_OF_TEXT), tokenizer.token_to_id(TURN_END)
            config = LlamaConfig(
                vocab_size=tokenizer.get_vocab_size(),
                hidden_size=_WIDTH,
                intermediate_size=_INNER,
                num_hidden_layers=_LAYERS,
                num_attention_heads=_HEADS,
                max_position_embeddings=CONTEXT,
                initializer_range=_INITIAL_SPREAD,
                tie_word_embeddings=True,
                bos_token_id=None,
                eos_token_id=stop,
                pad_token_id=end,
                dtype="float32",
            )
            model = LlamaForCausalLM(config)
            _fit(model, _batches(tokenizer, texts, end))
            model.generation_config = GenerationConfig(
                do_sample=False, eos_token_id=[stop, end], pad_token_id=end, max_new_tokens=64
            )
            return model
    finally:
        torch.set_num_threads(threads)


def _batches(tokenizer: Tokenizer, texts: list[str], end: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Token ids and labels, each of shape (rows, longest document), of documents of nearly one length."""
    import torch
    from torch.nn.utils.rnn import pad_sequence

    encoded = (torch.tensor([*one.ids, end]) for one in tokenizer.encode_batch(texts))
    by_length = sorted(encoded, key=len)
    for start in torch.randint(len(by_length) - _ROWS, (_STEPS,)).tolist():
        rows = by_length[start : start + _ROWS]
        yield (
            pad_sequence(rows, batch_first=True, padding_value=end),
            pad_sequence(rows, batch_first=True, padding_value=-100),  # the label that the loss leaves out
        )


def _fit(model: Any, batches: Iterable[tuple[Tensor, Tensor]]) -> None:
    import torch

    optimizer = torch.optim.AdamW(model.parameters(), lr=_LEARNING_RATE, betas=(0.9, 0.95), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _LEARNING_RATE, total_steps=_STEPS, pct_start=0.1)
    model.train()
    for tokens, labels in batches:
        model(input_ids=tokens, labels=labels).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
    model.eval()
