"""Reasoning that a server without a parser leaves in a reply, taken off: marks differ by model, or are stripped."""

from __future__ import annotations

import re

_NAME = (
    r"[\w:.-]*?(?:think|thought|reason|reflection|analysis|scratchpad|monologue|rationale|deliberat|planning"
    r"|\bdetails\b|\bcot\b|\binternal\b)[\w:.-]*"
)
_WORD = r"(?:think(?:ing)?|reasoning|thoughts?)"
_OPENING = (
    rf"<(?!\|?end_)\|?{_NAME}(?:\s[^<>\n]*)?\|?>|\[{_WORD}\]|◁think▷"
    r"|<\|channel>\s*(?:thought|analysis)|<unused94>|<\|inner_prefix\|>"
    r"|^\s*thinking\.\.\.(?=\s)|^\s*here(?:'s| is) my thought process:"
)
_CLOSING = (
    rf"</\|?{_NAME}\|?>|<\|(?:end_|/){_NAME}\|>|\[/{_WORD}\]|◁/think▷|<channel\|>|<unused95>|<\|inner_suffix\|>"
    r"|\.\.\.done thinking\.|\bhere(?:'s| is) my response:"
)
_MARK = re.compile(rf"(?is)(?P<closing>{_CLOSING})|{_OPENING}")
_HARMONY = re.compile(r"<\|(?:channel|message)\|>")
_FINAL = re.compile(r"(?is).*\bfinal\b[^\n]{0,40}?<\|message\|>")
_END = re.compile(r"(?s)<\|(?:end|return|call|start)\|>.*")
_BARE_CHANNEL = re.compile(r"\s*(?:assistant)?(?:analysis|commentary)(?=[^\s:.,;*)\]-])")
_BARE_FINAL = re.compile(r"(?s).*assistant\s?final(?!\s*(?:answer|say|word)\b)")
_TAG_NAME = re.compile(r"(?i)[<\[◁]\|?/?(?:(?:start|begin|end)_(?:of_)?)?([\w:.-]*)")
_BLOCK_ENDS = re.compile(
    r"(?i)(?:<\|[a-z0-9_]+\|>|</(?!(?:code|del|em|ins|mark|span|strong)>)[a-z][\w-]+>)(?=[\s*_`'\"“«(\[{#<-]*choice\b)"
)
"""The end of a block whose marks are not known, with the answer behind it: it stands on a line of its own."""
_SPECIAL = re.compile(r"(?i)<\|[a-z0-9_]+\|>|</?[a-z][\w-]+>|</?s>")


def without_reasoning(reply: str) -> str:
    """Return what a reply says after its thoughts; nothing where a thought never ends.

    Known are tags (``<think>``, ``<seed:think>``, ``[THINK]`` …), also where the opening one is part of the prompt,
    harmony's channels, with or without their marks, and the sentences that some models put around their thoughts. Tags
    around the answer itself are taken off as well.

    >>> without_reasoning("A first guess is Choice: B </think> Choice: A")
    ' Choice: A'
    >>> without_reasoning("<think>Hm. <reflection>So?</reflection> Choice: B")
    ''
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
    # A mark parts what stands on its sides: an answer glued to a thought's last word would be none.
    return _SPECIAL.sub(" ", _BLOCK_ENDS.sub("\n", text))


def _outside_marks(reply: str) -> str:
    """Return what stands outside of thoughts; what is before a closing mark that was never opened is a thought too.

    A thought may hold others, of other names, whose ends are not its own.
    """
    kept: list[str] = []
    start, within = 0, list[str]()
    for mark in _MARK.finditer(reply):
        name = _name(mark[0])
        if not mark["closing"]:
            if not within:
                kept.append(reply[start : mark.start()])
            within.append(name)
            continue
        if not within:
            kept.clear()
        # One end is enough for marks that were written twice; a name that was not opened ends whatever is open.
        within = within[: within.index(name)] if name in within else []
        start = mark.end()
    return "" if within else "".join([*kept, reply[start:]])


def _name(mark: str) -> str:
    """Return what the opening and the closing mark of a thought have in common; "" for those without a name."""
    named = _TAG_NAME.match(mark)
    return named[1].lower() if named else ""
