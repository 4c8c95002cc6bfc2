"""Pre-train the model that ships in the wheel: a 0.8 M parameter Llama that does arithmetic with good and bad habits.

    make model          (or: python scripts/make_embedded_model.py --out src/sent_rl/embedded)

Each solution that it learns from follows one habit from beginning to end: a right order of steps (any of them, at random), strictly
left to right, strictly right to left (both ignore precedence), or a right order with slips by one. Reinforcement learning can then do
what it can do within minutes: select among habits. Only expressions of the ``pretrain`` split are used.
"""

from __future__ import annotations

import argparse
import math
import random
import time
from pathlib import Path

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from sent_rl.problems.arithmetic import LARGEST_VALUE, Expression, draw_expression, split_of

SEED = 0
ANSWER = "#### "
VOCABULARY = ["<pad>", "<eos>", "<unk>", "\n", ANSWER, *"0123456789+-*()"]
HABITS = {"right": 0.40, "left_to_right": 0.20, "right_to_left": 0.20, "slip": 0.20}
OPERANDS = {2: 1, 3: 2, 4: 4, 5: 5, 6: 2}
LEARNING_RATE = 2e-3
IGNORE = -100


def make_tokenizer() -> PreTrainedTokenizerFast:
    """One token a character, but the marker of the final answer is a token of its own."""
    backend = Tokenizer(models.WordLevel({token: i for i, token in enumerate(VOCABULARY)}, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Split(Regex(rf"{ANSWER}|[\s\S]"), "isolated")
    backend.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token="<pad>",
        eos_token="<eos>",
        unk_token="<unk>",
        padding_side="left",
        model_max_length=128,
        clean_up_tokenization_spaces=False,
    )


def make_model(vocabulary: int) -> LlamaForCausalLM:
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=128,
        intermediate_size=352,
        num_hidden_layers=4,
        num_attention_heads=4,
        max_position_embeddings=128,
        tie_word_embeddings=True,
        bos_token_id=None,
        pad_token_id=VOCABULARY.index("<pad>"),
        eos_token_id=VOCABULARY.index("<eos>"),
    )
    return LlamaForCausalLM(config)


def solution(rng: random.Random, expression: Expression, habit: str) -> str | None:
    """One worked solution after ``habit``; None where a wrong habit leaves the range of numbers."""
    lines = []
    while expression.operators:
        if habit == "left_to_right":
            position = 0
        elif habit == "right_to_left":
            position = len(expression.operators) - 1
        else:
            position = rng.choice(expression.right_positions())
        expression = expression.apply(position)
        if habit == "slip" and rng.random() < 0.5:
            numbers = list(expression.numbers)
            numbers[position] += rng.choice((-1, 1))
            expression = Expression(tuple(numbers), expression.operators)
        if abs(expression.numbers[position]) > LARGEST_VALUE:
            return None
        lines.append(str(expression))
    lines[-1] = ANSWER + lines[-1]
    return "\n".join(lines)


def example(rng: random.Random) -> tuple[str, str]:
    """A (prompt, solution) pair of the ``pretrain`` split."""
    while True:
        operands = rng.choices(list(OPERANDS), list(OPERANDS.values()))[0]
        expression = draw_expression(rng, operands)
        if operands > 2 and split_of(expression) != "pretrain":
            continue
        habit = rng.choices(list(HABITS), list(HABITS.values()))[0]
        text = solution(rng, expression, habit)
        if text is not None:
            return f"{expression}\n", text


def batch(rng: random.Random, tokenizer: PreTrainedTokenizerFast, size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Right-padded token ids and labels, (size, T); the prompt is not learned."""
    rows, starts = [], []
    for _ in range(size):
        prompt, text = example(rng)
        starts.append(len(tokenizer(prompt).input_ids))
        rows.append([*tokenizer(prompt + text).input_ids, tokenizer.eos_token_id])
    longest = max(map(len, rows))
    ids = torch.tensor([row + [tokenizer.pad_token_id] * (longest - len(row)) for row in rows])
    labels = torch.full_like(ids, IGNORE)
    for i, (row, start) in enumerate(zip(rows, starts, strict=True)):
        labels[i, start : len(row)] = ids[i, start : len(row)]
    return ids, labels


def train(steps: int, size: int) -> tuple[LlamaForCausalLM, PreTrainedTokenizerFast]:
    rng = random.Random(SEED)
    torch.manual_seed(SEED)
    tokenizer = make_tokenizer()
    model = make_model(len(VOCABULARY))
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters, seed {SEED}")
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min(1.0, step / 100) * 0.5 * (1 + math.cos(math.pi * step / steps))
    )
    started = time.time()
    for step in range(steps):
        ids, labels = batch(rng, tokenizer, size)
        loss = model(input_ids=ids, labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 100 == 0 or step == steps - 1:
            print(f"step {step:5d}  loss {loss.item():.4f}  {time.time() - started:6.1f} s", flush=True)
    return model, tokenizer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--batch-size", type=int, default=128)
    arguments = parser.parse_args()
    model, tokenizer = train(arguments.steps, arguments.batch_size)
    model.save_pretrained(arguments.out)
    tokenizer.save_pretrained(arguments.out)
    print(f"wrote {arguments.out}")


if __name__ == "__main__":
    main()
