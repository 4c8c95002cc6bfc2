"""How a question is put to the model."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, field_validator

from sent_rl.problems.problem import Problem

_PLACE = "{question}"


class Prompting(BaseModel):
    """The template around a question, and whether it goes through the model's chat template."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    template: str = Field(f"{_PLACE}\n", description="text with {question} in it, once")
    chat: bool = Field(False, description="send it as a user message through the tokenizer's chat template")

    @field_validator("template")
    @classmethod
    def _has_place(cls, template: str) -> str:
        if template.count(_PLACE) != 1:
            raise ValueError(f"the template must hold {_PLACE} exactly once")
        return template

    def render(self, problem: Problem) -> str | list[dict[str, str]]:
        """Text to continue, or chat messages."""
        text = self.template.replace(_PLACE, problem.prompt)
        return [{"role": "user", "content": text.strip()}] if self.chat else text
