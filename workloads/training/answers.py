"""Answers to questions: generated in batches, and compared with the expected ones."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workloads.errors import InputError, Problem
from workloads.training.loading import LoadedModel


@dataclass(frozen=True, slots=True)
class Question:
    """One question, the answer that counts as right, and what kind of question it is."""

    question: str
    answer: str
    category: str | None = None


def load_questions(path: Path) -> list[Question]:
    """Reads a JSONL file of questions.

    Raises:
        InputError: with every line that is not one.
    """
    problems: list[Problem] = []
    questions: list[Question] = []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError.of(f"The questions cannot be read: {error}.", "give a UTF-8 JSONL file", file=path) from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except ValueError as error:
            problems.append(Problem(f"This is not JSON: {error}.", "one object a line", file=str(path), line=number))
            continue
        missing = [key for key in ("question", "answer") if not isinstance(_get(value, key), str)]
        if missing:
            names = " and ".join(missing)
            problems.append(Problem(f"There is no text in {names}.", "add it", file=str(path), line=number))
            continue
        category = value.get("category")
        questions.append(Question(value["question"], value["answer"], None if category is None else str(category)))
    if not questions and not problems:
        problems.append(Problem("The file has no questions.", "add some", file=str(path)))
    if problems:
        raise InputError(problems)
    return questions


def _get(value: Any, key: str) -> Any:
    return value.get(key) if isinstance(value, dict) else None


def generate(loaded: LoadedModel, questions: Sequence[str], max_new_tokens: int, batch_size: int = 32) -> list[str]:
    """Greedy answers, so that the same model always gives the same ones."""
    import torch

    tokenizer, model = loaded.tokenizer, loaded.model
    stop = loaded.template.get_stop_token_ids(tokenizer)
    answers: list[str] = []
    for start in range(0, len(questions), batch_size):
        prompts = [_prompt(loaded, text) for text in questions[start : start + batch_size]]
        width = max(len(prompt) for prompt in prompts)
        padding = [width - len(prompt) for prompt in prompts]
        rows = [[tokenizer.pad_token_id] * pad + ids for pad, ids in zip(padding, prompts, strict=True)]
        masks = [[0] * pad + [1] * len(ids) for pad, ids in zip(padding, prompts, strict=True)]
        with torch.inference_mode():
            output = model.generate(
                input_ids=torch.tensor(rows, device=model.device),
                attention_mask=torch.tensor(masks, device=model.device),
                max_new_tokens=max_new_tokens,
                do_sample=False,
                eos_token_id=stop,
                pad_token_id=tokenizer.pad_token_id,
            )
        answers += [text.strip() for text in tokenizer.batch_decode(output[:, width:], skip_special_tokens=True)]
    return answers


def _prompt(loaded: LoadedModel, question: str) -> list[int]:
    messages = [{"role": "user", "content": question}, {"role": "assistant", "content": ""}]
    prompt, _ = loaded.template.encode_oneturn(loaded.tokenizer, messages)
    return list(prompt)


def is_right(answer: str, expected: str) -> bool:
    """Whether two answers are the same but for white space at the ends and between words."""
    return answer.split() == expected.split()


def grade(questions: Sequence[Question], answers: Sequence[str], *, rouge: bool) -> dict[str, float]:
    """``exact_match``, and where asked ``rouge1`` and ``rougeL`` (F-measure); all are shares from 0 to 1."""
    pairs = list(zip(questions, answers, strict=True))
    metrics = {"exact_match": sum(is_right(answer, question.answer) for question, answer in pairs) / len(pairs)}
    if rouge:
        from rouge_score.rouge_scorer import RougeScorer

        scorer = RougeScorer(["rouge1", "rougeL"])
        scores = [scorer.score(question.answer, answer) for question, answer in pairs]
        for name in ("rouge1", "rougeL"):
            metrics[name] = sum(each[name].fmeasure for each in scores) / len(scores)
    return metrics
