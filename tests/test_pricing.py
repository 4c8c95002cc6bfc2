"""Prices of recipes: sizes against the architectures, formulas by hand, and what cannot be priced."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from sent_rl.config import Hardware, RunConfig, load_config, recipe_names
from sent_rl.errors import UserError
from sent_rl.pricing import GPUS, LAUNCH, SHAPES, TRANSFER, USED, Shape, memory, price_lines, sampling_hours, shape_of, training_hours

# From the models' config.json on the Hub.
HEADS = {
    "smollm2": {"num_attention_heads": 9, "num_key_value_heads": 3, "intermediate_size": 1536, "tie_word_embeddings": True},
    "Qwen/Qwen2.5-0.5B-Instruct": {
        "num_attention_heads": 14, "num_key_value_heads": 2, "intermediate_size": 4864, "tie_word_embeddings": True,
    },
    "deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B": {"num_attention_heads": 12, "num_key_value_heads": 2, "intermediate_size": 8960},
    "Qwen/Qwen2.5-Math-7B": {"num_attention_heads": 28, "num_key_value_heads": 4, "intermediate_size": 18944},
    "Qwen/Qwen3-14B": {"num_attention_heads": 40, "num_key_value_heads": 8, "intermediate_size": 17408, "head_dim": 128},
}  # fmt: skip
PAPER = ("paper-1.5b", "paper-7b", "paper-14b")
PUBLISHED = ("published-1.5b", "published-7b", "published-14b")


@pytest.mark.parametrize("name", SHAPES)
def test_the_shapes_are_the_models(name: str) -> None:
    shape, kind = Shape(**SHAPES[name]), "llama" if name == "smollm2" else "qwen3" if "Qwen3" in name else "qwen2"
    sizes = {"hidden_size": shape.hidden, "num_hidden_layers": shape.layers, "vocab_size": shape.vocab, "tie_word_embeddings": False}
    config = AutoConfig.for_model(kind, **{**sizes, **HEADS[name]})
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    assert sum(p.numel() for p in model.parameters()) == shape.parameters
    assert model.model.layers[0].self_attn.k_proj.out_features == shape.kv_dim


def test_a_folder_is_looked_at() -> None:
    assert shape_of("embedded") == Shape(128, 4, 128, 20, 806_528)


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_has_a_price(name: str) -> None:
    lines = price_lines(load_config(name))
    assert any(line.startswith("together") for line in lines)
    layouts = [line for line in lines if line.startswith("memory")]
    assert len(layouts) == (2 if name in (*PAPER[:2], *PUBLISHED[:2]) else 1)  # offloaded: in shards alone
    assert any(line.endswith(": fits") for line in layouts), "on the hardware that it names itself"
    assert not any(line.startswith("warning") for line in lines)
    assert any("needs the whole model on every GPU" in line for line in lines) == (name in PUBLISHED)


def test_the_prices_in_the_docs_are_todays() -> None:
    page = (Path(__file__).parents[1] / "docs" / "scale.md").read_text(encoding="utf-8")
    for name in ("gsm8k-0.5b", *PAPER):
        (row,) = [line for line in page.splitlines() if line.startswith(f"| `{name}` | ") and " x " in line]
        lines = price_lines(load_config(name))
        hours = next(line.split()[1] for line in lines if line.startswith("together"))
        sizes = [line.split(": ")[1].split(" of ")[0] for line in lines if line.startswith("memory")]
        assert all(f" {each}" in row for each in (hours, *sizes)), name


def test_hours_and_memory_by_hand() -> None:
    config: RunConfig = load_config("paper-7b")
    shape = shape_of(config.model.path)
    n, (_, teraflops, traffic) = shape.parameters, GPUS["a100-80"]
    # 5 passes of 17,398 // 256 rollouts; 3 passes to update, and checkpointing, old log-probs, the reference
    tokens = 5 * 67 * 2048 * 2048
    assert training_hours(config, shape, tokens) == pytest.approx(tokens * 6 * 2 * n / (USED * 4 * teraflops * 1e12) / 3600)
    # 512 responses on each GPU, of which 449 find room at once, and then the other 63
    at_once = int((0.85 * 80e9 - 2 * n) / (4 * 28 * 512 * 2048))
    seconds = 0.0
    for sequences in (at_once, 512 - at_once):
        seconds += 2048 * max(
            (2 * n + sequences * 4 * 28 * 512 * 1024) / (USED * traffic * 1e9),
            sequences * 2 * n / (USED * teraflops * 1e12),
            28 * LAUNCH["vllm"],
        )
    assert sampling_hours(shape, config.hardware, 2048, 2048, 2048, "vllm") == pytest.approx(seconds / 3600)
    kept = 4 * 2048 * 3584 * (2 * 28 + 34) + 3 * 4 * 4096 * 32768
    assert memory(config, shape, 4) == pytest.approx((n * (16 + 4) / 4 + kept) / 1e9)
    adapter = load_config("paper-7b", ["train.lora={r: 16}", "model.dtype=bfloat16", "train.gradient_checkpointing=false"])
    kept = 4 * 2048 * 3584 * 34 * 28 + 3 * 4 * 4096 * 32768
    assert memory(adapter, shape, 1) == pytest.approx((n * 2 + kept) / 1e9)
    few = load_config("paper-7b", ["train.micro_batch=null", "train.questions_per_step=2"])
    kept = 2 * 2048 * 3584 * (2 * 28 + 34) + 3 * 4 * 4096 * 32768  # 8 responses of an update on 4 GPUs
    assert memory(few, shape, 4) == pytest.approx((n * (16 + 4) / 4 + kept) / 1e9)
    plain = load_config("paper-7b", ["method=grpo", "train.kl_coef=0", "train.steps=9"])
    assert training_hours(plain, shape, 1000) == pytest.approx(training_hours(config, shape, 1000) * 5 / 6)
    assert "5 rollouts of 2,048" in price_lines(plain)[1]


def drawn_one_by_one(shape: Shape, hardware: Hardware, responses: int, longest: int, most: int) -> float:
    """Hours of a GPU that is dealt its responses, holds what fits, and takes the next one where one ends."""
    gigabytes, teraflops, traffic = GPUS[hardware.gpu]
    places = int((0.85 * gigabytes * 1e9 - 2 * shape.parameters) / (shape.cache * longest))
    waiting, running, seconds = [longest] * len(range(0, responses, hardware.gpus)), list[int](), 0.0
    while waiting:
        given, waiting = waiting[:most], waiting[most:]
        while given or running:
            while given and len(running) < max(1, places):
                running.append(given.pop())
            read = 2 * shape.parameters + len(running) * shape.cache * longest / 2
            computed = len(running) * 2 * shape.parameters
            launched = LAUNCH["vllm"] * shape.layers
            seconds += max(read / (USED * traffic * 1e9), computed / (USED * teraflops * 1e12), launched)
            running = [left - 1 for left in running if left > 1]
    return seconds / 3600


@pytest.mark.parametrize("name", [*PAPER, "gsm8k-0.5b"])
@pytest.mark.parametrize("most", [64, 2048])
def test_responses_are_counted_on_each_gpu(name: str, most: int) -> None:
    config = load_config(name)
    shape, hardware, longest = shape_of(config.model.path), config.hardware, 256
    responses = config.train.questions_per_step * config.train.generations
    found = sampling_hours(shape, hardware, responses, longest, most, "vllm")
    assert found == pytest.approx(drawn_one_by_one(shape, hardware, responses, longest, most))


def test_offloading_by_hand() -> None:
    config, plain = load_config("paper-14b"), load_config("paper-14b", ["train.offload=false"])
    shape = shape_of(config.model.path)
    n = shape.parameters
    ends = 2 * 151936 * 5120
    kept = 8 * 2048 * 5120 * (2 * 40 + 34) + 3 * 4 * 4096 * 32768
    assert memory(config, shape, 4) == pytest.approx((8 * (ends + 2 * (n - ends) / 40) + kept) / 1e9)
    assert memory(plain, shape, 4) == pytest.approx((20 * n / 4 + kept) / 1e9)
    tokens = 2048 * 2048  # 64 micro-batches of 8 on each of 4 GPUs; weights 4 times, gradients once, 4 bytes each
    more = training_hours(config, shape, tokens) - training_hours(plain, shape, tokens)
    assert more == pytest.approx(64 * 5 * 4 * n / 4 / (TRANSFER * 1e9) / 3600)
    assert any("main memory" in line and line.endswith(f"{20 * n / 1e9:.0f} GB") for line in price_lines(config))
    *_, warning = price_lines(plain)
    assert warning.startswith("warning: no layout fits; set train.offload=true")
    *_, warning = price_lines(load_config("paper-14b", ["hardware.gpu=l4"]))
    assert warning.startswith("warning: no layout fits; lower train.micro_batch")


def test_what_cannot_be_priced(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"model.path: the size of 'some/model' is not known here"):
        price_lines(load_config("quickstart", ["model.path=some/model"]))
    with pytest.raises(UserError, match=r"problems.train.count: say how many rows"):
        price_lines(load_config("quickstart", ["problems.train=openai/gsm8k"]))
    file = tmp_path / "mine.jsonl"
    file.write_text('{"prompt": "1+1", "answer": "2"}\n' * 32)
    assert "32 training problems" in price_lines(load_config("quickstart", [f"problems.train={file}"]))[1]
