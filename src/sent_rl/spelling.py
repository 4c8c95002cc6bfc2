"""Can the model read the prompts at all?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sent_rl.errors import UserError
from sent_rl.models import ModelConfig, load_tokenizer, render

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_PROMPTS_READ, _UNKNOWN_SHARE = 1000, 0.01


def check_spelling(config: ModelConfig, prompts: Sequence[str | list[dict[str, str]]], path: str | None = None) -> None:
    """Refuse prompts that the tokenizer has no tokens for: what is sampled from them means nothing.

    A thousand of them at most are read, evenly spread. Byte-level tokenizers spell everything. A
    tokenizer that is not a fast one, which is rare, does not say what it replaced, and passes.

    Args:
        path: of the model, where it is not the configured one.

    Raises:
        UserError: more than 1 % of the characters are unknown; or as
            :func:`sent_rl.models.load_tokenizer`.
    """
    tokenizer = load_tokenizer(config, path, chat=any(not isinstance(prompt, str) for prompt in prompts))
    if tokenizer.unk_token_id is None or not tokenizer.is_fast or not prompts:
        return
    texts = [render(tokenizer, prompt) for prompt in prompts[:: -(-len(prompts) // _PROMPTS_READ)]]
    unknown = "".join(_unknown(tokenizer, text) for text in texts)
    share = len(unknown) / max(1, sum(map(len, texts)))
    if share > _UNKNOWN_SHARE:
        first = ", ".join(map(repr, list(dict.fromkeys(unknown))[:8]))
        raise UserError(
            f"prompts: {share:.0%} of their characters are unknown to the tokenizer of {path or config.path!r} "
            f"(the first are {first}); choose a model that can read them with --model (key model.path)"
        )


def _unknown(tokenizer: PreTrainedTokenizerBase, text: str) -> str:
    """What of a text becomes the unknown token, except where that is written out itself."""
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    spans = zip(encoded["input_ids"], encoded["offset_mapping"], strict=True)
    pieces = (text[start:end] for token, (start, end) in spans if token == tokenizer.unk_token_id)
    return "".join(piece for piece in pieces if piece != tokenizer.unk_token)
