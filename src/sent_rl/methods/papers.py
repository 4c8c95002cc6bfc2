"""Where each method was introduced, for whoever has to cite it."""

from __future__ import annotations

from dataclasses import dataclass

from sent_rl.methods.base import Method


@dataclass(frozen=True)
class Paper:
    """A paper on arXiv; ``authors`` as BibTeX has them."""

    arxiv: str
    title: str
    authors: str

    @property
    def year(self) -> int:
        return 2000 + int(self.arxiv[:2])

    @property
    def bibtex(self) -> str:
        surname = self.authors.partition(",")[0].lower()
        return "\n".join(
            (
                f"@misc{{{surname}{self.year}{self.title.split()[0].lower()},",
                f"  title  = {{{{{self.title}}}}},",
                f"  author = {{{self.authors}}},",
                f"  year   = {self.year},",
                f"  eprint = {{{self.arxiv}}},",
                "  archivePrefix = {arXiv},",
                "}",
            )
        )


_SENT = Paper(
    "2512.04359",
    "Efficient Reinforcement Learning with Semantic and Token Entropy for LLM Reasoning",
    "Cao, Hongye and Bai, Zhixin and Peng, Ziyue and Wang, Boyan and Yang, Tianpei and Huo, Jing and Zhang, Yuyao and Gao, Yang",
)
_COVARIANCE = Paper("2505.22617", "The Entropy Mechanism of Reinforcement Learning for Reasoning Language Models", "Cui, Ganqu and others")
_SKYWORK = Paper("2505.22312", "Skywork Open Reasoner 1 Technical Report", "He, Jujie and others")
_PAPERS: dict[str, Paper | None] = {
    "grpo": Paper(
        "2402.03300",
        "DeepSeekMath: Pushing the Limits of Mathematical Reasoning in Open Language Models",
        "Shao, Zhihong and others",
    ),
    "entropy_bonus": Paper("1602.01783", "Asynchronous Methods for Deep Reinforcement Learning", "Mnih, Volodymyr and others"),
    "entropy_advantage": Paper("2506.14758", "Reasoning with Exploration: An Entropy Perspective", "Cheng, Daixuan and others"),
    "entropy_mask": Paper(
        "2506.01939",
        "Beyond the 80/20 Rule: High-Entropy Minority Tokens Drive Effective Reinforcement Learning for LLM Reasoning",
        "Wang, Shenzhi and others",
    ),
    "clip_cov": _COVARIANCE,
    "kl_cov": _COVARIANCE,
    "high_entropy_kl": _SENT,
    "sent": _SENT,
    "sent_as_published": _SENT,
    "sent_online": None,
    "sent_adaptive": None,
}
"""By the method's name; None where the method is this package's own."""


def paper_of(method: Method) -> Paper | None:
    """The paper that introduced a method with these options; None where there is none."""
    if method.name == "entropy_bonus" and getattr(method, "adaptive", False):
        return _SKYWORK
    return _PAPERS[method.name]
