"""Sampling with ``generate`` of transformers: the engine that works everywhere."""

from __future__ import annotations

import inspect
from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

from sent_rl.models import encode
from sent_rl.rollouts.config import BATCH
from sent_rl.rollouts.engine import Prompt, Response, Sampling
from sent_rl.tokens import token_stats

# What some architectures do to their logits (Gemma 2, Granite, Cohere, MiniCPM and others), by the name in their configuration.
_HEAD_OPTIONS = ("final_logit_softcapping", "logits_scaling", "logit_scale", "lm_head_multiplier", "dim_model_base")


class TransformersEngine:
    """Samples from a causal model in this process.

    Every id in ``model.generation_config.eos_token_id`` ends a response.
    """

    batch_size = BATCH["transformers"]

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
        self.model, self.tokenizer = model.eval(), tokenizer
        self.pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
        declared = model.generation_config.eos_token_id
        self.ends = sorted({tokenizer.eos_token_id, *([declared] if isinstance(declared, int) else declared or [])} - {None})

    @torch.no_grad()
    def sample(self, prompts: Sequence[Prompt], n: int, sampling: Sampling, seed: int, logprobs: bool = False) -> list[list[Response]]:
        ids = [row for prompt in prompts for row in [encode(self.tokenizer, prompt)] * n]
        responses: list[Response] = []
        with torch.random.fork_rng(devices=self._cuda()):
            torch.manual_seed(seed)
            size = sampling.batch_size or self.batch_size
            for start in range(0, len(ids), size):
                responses += self._batch(ids[start : start + size], sampling, logprobs)
        return [responses[i * n : (i + 1) * n] for i in range(len(prompts))]

    def _cuda(self) -> list[int]:
        return [self.model.device.index or 0] if self.model.device.type == "cuda" else []

    def _batch(self, rows: list[list[int]], sampling: Sampling, logprobs: bool) -> list[Response]:
        width = max(map(len, rows))
        ids = torch.tensor([[self.pad] * (width - len(row)) + row for row in rows], device=self.model.device)
        attention = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows], device=self.model.device)
        config = GenerationConfig(
            do_sample=True,
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            top_k=0,
            max_new_tokens=sampling.max_tokens,
            pad_token_id=self.pad,
            eos_token_id=self.ends,
        )
        out: Tensor = self.model.generate(input_ids=ids, attention_mask=attention, generation_config=config)
        written = out[:, width:]
        ended = torch.isin(written, torch.tensor(self.ends, device=written.device))
        finished = ended.any(dim=1)
        lengths = torch.where(finished, ended.int().argmax(dim=1) + 1, written.size(1))
        mask = torch.arange(written.size(1), device=written.device) < lengths[:, None]
        means = self._mean_logps(out, attention, mask) if logprobs else torch.full((len(rows),), float("nan"))
        texts = self.tokenizer.batch_decode([row[m].tolist() for row, m in zip(written, mask, strict=True)], skip_special_tokens=True)
        return [
            Response(text, int(length), bool(done), float(mean))
            for text, length, done, mean in zip(texts, lengths, finished, means, strict=True)
        ]

    def _mean_logps(self, sequences: Tensor, prompt_attention: Tensor, mask: Tensor) -> Tensor:
        """(b,) mean log-prob of the written tokens at temperature 1, from a forward pass over prompt and response."""
        attention = torch.cat([prompt_attention, mask.to(prompt_attention.dtype)], dim=1)
        inputs = {"input_ids": sequences, "attention_mask": attention}
        if "position_ids" in inspect.signature(self.model.forward).parameters:  # rows are padded on the left
            inputs["position_ids"] = (attention.cumsum(1) - 1).clamp(min=0)
        keep = mask.size(1)
        labels = sequences[:, -keep:]
        if self._has_plain_head():
            hidden = self.model.base_model(**inputs).last_hidden_state[:, -keep - 1 : -1]
            head = self.model.get_output_embeddings()
            logps = token_stats(hidden, head.weight, labels, bias=getattr(head, "bias", None)).logps
        else:
            rows = [{key: value[i : i + 1] for key, value in inputs.items()} for i in range(len(labels))]
            logits = (self.model(**row).logits[:, -keep - 1 : -1].float() for row in rows)
            logps = torch.cat([z.log_softmax(-1).gather(-1, y[None, :, None])[..., 0] for z, y in zip(logits, labels, strict=True)])
        return (logps * mask).sum(1) / mask.sum(1)

    def _has_plain_head(self) -> bool:
        """Whether logits are just the last hidden state times the output embedding, without scaling or soft-capping."""
        config = self.model.config.get_text_config()
        return all(getattr(config, name, None) is None for name in _HEAD_OPTIONS)
