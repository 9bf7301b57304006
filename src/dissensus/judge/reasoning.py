"""Reasoning that a server leaves in a reply, taken off: the thought is no part of what a model answers.

Servers with a reasoning parser send thoughts apart. Others leave them in, with marks that differ by model, with the
opening mark in the prompt, or with the marks themselves stripped.
"""

from __future__ import annotations

import re

_NAME = (
    r"[\w:.-]*?(?:think|thought|reason|reflection|analysis|scratchpad|monologue|rationale|deliberat|planning"
    r"|\bdetails\b|\bcot\b)[\w:.-]*"
)
_WORD = r"(?:think(?:ing)?|reasoning|thoughts?)"
_OPENING = (
    rf"<(?!\|?end_)\|?{_NAME}(?:\s[^<>\n]*)?\|?>|\[{_WORD}\]|◁think▷"
    r"|<\|channel>\s*(?:thought|analysis)|<unused94>|^\s*thinking\.\.\.(?=\s)|^\s*here(?:'s| is) my thought process:"
)
_CLOSING = (
    rf"</\|?{_NAME}\|?>|<\|(?:end_|/){_NAME}\|>|\[/{_WORD}\]|◁/think▷|<channel\|>|<unused95>"
    r"|\.\.\.done thinking\.|\bhere(?:'s| is) my response:"
)
_MARK = re.compile(rf"(?is)(?P<closing>{_CLOSING})|{_OPENING}")
_HARMONY = re.compile(r"<\|(?:channel|message)\|>")
_FINAL = re.compile(r"(?is).*\bfinal\b[^\n]{0,40}?<\|message\|>")
_END = re.compile(r"(?s)<\|(?:end|return|call|start)\|>.*")
_BARE_CHANNEL = re.compile(r"\s*(?:assistant)?(?:analysis|commentary)(?=[^\s:.,;*)\]-])")
_BARE_FINAL = re.compile(r"(?s).*assistant\s?final(?!\s*(?:answer|say|word)\b)")
_SPECIAL = re.compile(r"(?i)<\|[a-z0-9_]+\|>|</?[a-z][\w-]+>|</?s>")


def without_reasoning(reply: str) -> str:
    """Return what a reply says after its thoughts; nothing where a thought never ends.

    Known are tags (``<think>``, ``<thought>``, ``<seed:think>``, ``[THINK]``, ``<|START_THINKING|>`` …), also where the
    opening one is part of the prompt, harmony's channels, the names of these channels where their marks were stripped,
    and the sentences that some models put around their thoughts. Tags around the answer itself are taken off as well.

    >>> without_reasoning("A first guess is Choice: B </think> Choice: A")
    ' Choice: A'
    >>> without_reasoning("analysisWe compare.assistantfinalChoice: A")
    'Choice: A'
    """
    if _HARMONY.search(reply):
        final = _FINAL.match(reply)
        text = _END.sub("", reply[final.end() :]) if final else ""
    elif (bare := _BARE_FINAL.match(reply)) or _BARE_CHANNEL.match(reply):
        text = reply[bare.end() :] if bare else ""
    else:
        text = _outside_marks(reply)
    return _SPECIAL.sub("", text)


def _outside_marks(reply: str) -> str:
    """Return what stands outside of thoughts; what is before a closing mark that was never opened is a thought too."""
    kept: list[str] = []
    start, thinks = 0, False
    for mark in _MARK.finditer(reply):
        if not mark["closing"]:
            if not thinks:
                kept.append(reply[start : mark.start()])
            thinks = True
            continue
        if not thinks:
            kept.clear()
        start, thinks = mark.end(), False
    return "" if thinks else "".join([*kept, reply[start:]])
