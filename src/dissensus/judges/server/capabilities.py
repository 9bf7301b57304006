"""Capabilities of a server, as the probe found them, and what follows for the way it is asked."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from dissensus.errors import JudgeError
from dissensus.judges.language.messages import Sampling
from dissensus.judges.language.settings import Api

Plan = Literal["greedy", "prefill"]
Omitted = Literal["temperature", "top_p", "top_p=1", "seed"]
LimitName = Literal["max_tokens", "max_completion_tokens"]
Neutral = dict[str, int | float | str | list[str]]
_OPTIONS = {"temperature": "--temperature", "top_p": "--top-p"}


class ServerProfile(BaseModel):
    """What one server does with the parameters it is sent; None where it could not be found out."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str
    api: Api = "chat"
    fingerprint: str = ""
    """Digest of what the server says of itself: another one is probed again."""
    signature: tuple[float, ...] = ()
    """What one request with many parameters gave: a server that was started again with other settings gives another."""
    several: bool = False
    """Whether ``n`` gives n replies."""
    most_replies: int | None = None
    """The highest ``n``, where the server tells."""
    logprobs: int = 0
    """How many of the most probable tokens it names at each position; 0 for none."""
    raw: bool | None = None
    """Whether log-probabilities are those of temperature 1, whatever temperature is asked for."""
    temperature: bool | None = None
    """Whether temperature 0 repeats itself and temperature 2 does not."""
    top_p: bool | None = None
    prefill: bool = False
    """Whether a reply can be begun for the model."""
    context: int | None = None
    """Tokens that fit into a prompt with its reply."""
    limit_name: LimitName = "max_tokens"
    omitted: tuple[Omitted, ...] = ()
    """Parameters that it refuses, and so are left out; ``top_p=1``: only where it is 1, which changes nothing."""
    temperature_and_top_p: bool = True
    """Whether temperature and top_p may both be said; if not, the one that is 1 is left out."""
    min_temperature: float = 0.0
    """The lowest temperature that it takes."""
    refused_max_tokens: int = 0
    """The most tokens of a reply that it refuses for being too few."""
    neutral: Neutral = {}
    """Parameters beyond OpenAI's that it takes, with values that change nothing: servers have defaults of their own."""

    @property
    def plan(self) -> Plan | None:
        """How choice distributions are to be had: by a greedy run (with its certificate), behind a prefix, or not."""
        if not self.logprobs or (self.raw is None and self.temperature is False):
            return None
        # At temperature 1 scaled log-probabilities are raw, but a reply is then drawn: a prefix is surer.
        return "greedy" if self.raw or self.temperature or not self.prefill else "prefill"

    def check(self, *, exact: bool, sampling: Sampling | None = None) -> None:
        """Refuse what this server cannot do.

        Args:
            exact: whether choice distributions are wanted.
            sampling: how replies are to be sampled, where they are.

        Raises:
            JudgeError: no choice distributions can be had of it, or it does not sample as it is told.
        """
        if not exact:
            self._check_sampling(sampling)
        elif not self.logprobs:
            raise JudgeError(
                f"{self.model}: mode exact needs log-probabilities, and this server gives none; use --mode sample"
            )
        elif self.plan is None:
            raise JudgeError(
                f"{self.model}: the server ignores temperature, so nobody knows at which one its log-probabilities "
                "are; use another server, or the judge local"
            )

    def _check_sampling(self, sampling: Sampling | None) -> None:
        if ignored := [name for name in _OPTIONS if getattr(self, name) is False]:
            raise JudgeError(
                f"{self.model}: the server ignores {' and '.join(ignored)}, so its replies would be drawn from another "
                "distribution; use --mode exact (with --force-prefix where it would sample replies, too), another "
                "server, or the judge local"
            )
        if sampling is None:
            return
        asked = {"temperature": sampling.temperature, "top_p": sampling.top_p}
        if refused := [name for name in asked if name in self.omitted and asked[name] != 1]:
            remedy = " ".join(f"{_OPTIONS[name]} 1" for name in refused)
            raise JudgeError(f"{self.model}: the server takes no {' and no '.join(refused)} but 1; give {remedy}")
        if not self.temperature_and_top_p and 1 not in asked.values():
            raise JudgeError(
                f"{self.model}: the server takes temperature or top_p and not both; give --temperature 1 or --top-p 1"
            )
        if sampling.max_tokens <= self.refused_max_tokens:
            raise JudgeError(
                f"{self.model}: the server refuses replies of {sampling.max_tokens} tokens; "
                "give more with --max-tokens, such as 1000"
            )

    def _said_of_n(self) -> str:
        if not self.several:
            return "one reply a request"
        return "supported" if self.most_replies is None else f"supported, up to {self.most_replies}"

    def describe(self) -> str:
        """Write the profile as lines of a name and what was found."""
        raw = {None: "raw or scaled: not reported", True: "raw", False: "scaled by temperature"}[self.raw]
        left_out = [name.replace("=1", " where it is 1") for name in self.omitted]
        if not self.temperature_and_top_p:
            left_out.append("temperature or top_p, whichever is 1")
        some = "all replies" if self.most_replies is None else f"up to {self.most_replies} replies"
        sample = f"one request for {some} of an order" if self.several else "one request for each reply"
        exact = {
            "greedy": "exact by one greedy reply, which certifies itself",
            "prefill": "exact behind a prefix (not certified)",
            None: "no exact",
        }[self.plan]
        rows = {
            "model": self.model,
            "api": self.api,
            "n": self._said_of_n(),
            "log-probs": f"top {self.logprobs}, {raw}" if self.logprobs else "none",
            "temperature": _supported(self.temperature),
            "top_p": _supported(self.top_p),
            "prefill": _supported(self.prefill),
            "context": "not reported: say it with --context" if self.context is None else f"{self.context:,} tokens",
            "not sent": ", ".join(left_out) or "nothing that is refused",
            "also sent": ", ".join(f"{name} {_shown(value)}" for name, value in self.neutral.items()) or "nothing",
            "plan": f"sample: {sample}; {exact}",
        }
        return "\n".join(f"{name:<12} {value}" for name, value in rows.items())


def _shown(value: object) -> str:
    return " and then ".join(value) if isinstance(value, list) else str(value)


def _supported(value: bool | None) -> str:
    return "not reported" if value is None else "supported" if value else "not supported"
