"""Prompts that the tokenizer cannot spell are refused before anything is sampled."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tokenizers import Tokenizer
from tokenizers.models import BPE, WordLevel
from tokenizers.pre_tokenizers import ByteLevel, Whitespace
from transformers import PreTrainedTokenizerFast

from sent_rl import cli, spelling
from sent_rl.errors import UserError
from sent_rl.models import EMBEDDED, ModelConfig, load_tokenizer
from sent_rl.problems import Prompting, arithmetic_problems
from sent_rl.problems.arithmetic import Split
from sent_rl.spelling import check_spelling

WORDS = "Natalia sold 48 clips to her friends. How many did she sell?"


def test_the_embedded_model_reads_its_arithmetic() -> None:
    splits: tuple[Split, ...] = ("train", "test")
    for split in splits:
        problems = arithmetic_problems([0, 1, 2, 3, 4], 100, split)
        check_spelling(ModelConfig(), [Prompting().render(p) for p in problems])


def test_words_are_refused_with_what_is_unknown_and_the_fix() -> None:
    with pytest.raises(UserError, match=r"9\d% of their characters .* 'embedded' \(the first are 'N', 'a', 't'.*--model"):
        check_spelling(ModelConfig(), [WORDS] * 3)


def test_a_small_share_passes_and_a_part_of_the_set_does_not() -> None:
    sums = ["12+34*(5-6)\n"] * 199
    check_spelling(ModelConfig(), [*sums, "12+x\n"])
    with pytest.raises(UserError, match="the first are 'N'"):
        check_spelling(ModelConfig(), [*sums[:50], WORDS])


def test_thousands_of_prompts_are_read_in_part(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []

    def unknown(tokenizer: Any, text: str) -> str:
        read.append(text)
        return ""

    monkeypatch.setattr(spelling, "_unknown", unknown)
    check_spelling(ModelConfig(), [str(i) for i in range(17_000)])
    assert 500 < len(read) <= 1000
    assert int(read[-1]) > 16_000


@pytest.mark.parametrize("kind", ["bytes", "words"])
def test_tokenizers_of_other_kinds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """Bytes spell everything, also where the unknown token is the end-of-text token as in GPT-2; words do not."""
    if kind == "bytes":
        vocabulary = {c: i for i, c in enumerate(sorted(ByteLevel.alphabet()))} | {"<end>": 256}
        tokenizer = Tokenizer(BPE(vocabulary, [], unk_token="<end>"))
        tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False)
    else:
        tokenizer = Tokenizer(WordLevel({"<end>": 0, "<unk>": 1, "How": 2, "many": 3}, unk_token="<unk>"))
        tokenizer.pre_tokenizer = Whitespace()
    own = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>", unk_token="<end>" if kind == "bytes" else "<unk>")
    monkeypatch.setattr(spelling, "load_tokenizer", lambda *_, **__: own)
    check_spelling(ModelConfig(), ["How many"])
    if kind == "bytes":
        check_spelling(ModelConfig(), [WORDS, "Wie viele Äpfel? \U0001f34e", "How<end>"])
    else:
        with pytest.raises(UserError, match="the first are 'c', 'l', 'i', 'p', 's'"):
            check_spelling(ModelConfig(), ["How many clips"])


def test_chat_messages_are_read_as_the_template_renders_them(monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = load_tokenizer(ModelConfig())
    tokenizer.chat_template = "{% for m in messages %}{{ m.content }}\n{% endfor %}"
    monkeypatch.setattr(spelling, "load_tokenizer", lambda *_, **__: tokenizer)
    check_spelling(ModelConfig(), [[{"role": "user", "content": "1+2"}]])
    with pytest.raises(UserError, match="unknown to the tokenizer"):
        check_spelling(ModelConfig(), [[{"role": "user", "content": WORDS}]])


@pytest.mark.parametrize(
    "command",
    [
        ["score", "words.jsonl"],
        ["evaluate", "embedded", "--problems", "words.jsonl", "--out", "e"],
        ["train", "words.parquet", "--out", "t"],
        ["run", "quickstart", "--out", "r", "--set", "problems.train=words.jsonl", "--set", "train.questions_per_step=2"],
        ["run", "quickstart", "--out", "r", "--set", "problems.test=words.jsonl"],
    ],
    ids=lambda command: " ".join(command),
)
def test_every_command_that_samples_refuses_them(
    command: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [{"id": str(i), "prompt": f"{i}: {WORDS}", "answer": "48", "stage": i // 4} for i in range(8)]
    Path("words.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    pq.write_table(pa.Table.from_pylist(rows), "words.parquet")
    monkeypatch.setattr(sys, "argv", ["sent", *command])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    error = capfd.readouterr().err
    assert stopped.value.code == 2
    assert error.count("\n") == 1
    assert str(EMBEDDED) in error or "'embedded'" in error
    assert "--model (key model.path)" in error
    assert {path.name for path in tmp_path.iterdir()} == {"words.jsonl", "words.parquet"}
