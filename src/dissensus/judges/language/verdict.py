"""The winner that a reply names, if it names one, behind reasoning that a server without a parser leaves in it."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Literal

from dissensus.records import Choice, Order

Verdict = Literal["A", "B"]
"""The winner as shown to the judge: A came first."""

_NAME = (
    r"[\w:.-]*?(?:think|thought|reason|reflection|analysis|scratchpad|monologue|rationale|deliberat|planning"
    r"|\bdetails\b|\bcot\b|\binternal\b)[\w:.-]*"
)
_THOUGHT = r"(?:think(?:ing)?|reasoning|thoughts?)"
_OPENING = (
    rf"<(?!\|?end_)\|?{_NAME}(?:\s[^<>\n]*)?\|?>|\[{_THOUGHT}\]|◁think▷"
    r"|<\|channel>\s*(?:thought|analysis)|<unused94>|<\|inner_prefix\|>"
    r"|^\s*thinking\.\.\.(?=\s)|^\s*here(?:'s| is) my thought process:"
)
_CLOSING = (
    rf"</\|?{_NAME}\|?>|<\|(?:end_|/){_NAME}\|>|\[/{_THOUGHT}\]|◁/think▷|<channel\|>|<unused95>|<\|inner_suffix\|>"
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

_MARKS = r"[\s*_`~'\"‘’“”«»<>()\[\]{}#$\ufeff\u200b-]*"
_APART = "[,;–—" + _MARKS[1:]
_SECOND = rf"{_MARKS}(?:(?:choice{_MARKS}:|answer\b|response\b|option\b){_MARKS})?[AB](?!\w)"
_ANCHOR = re.compile(rf"(?im)^{_MARKS}choice{_MARKS}[:：]{_MARKS}")
_ANYWHERE = re.compile(rf"(?i)\bchoice{_MARKS}[:：]{_MARKS}([AB])(?!\w)")
_LETTER = re.compile(r"(?:(?i:answer|response|option|assistant)[ \t*_`'\"“(\[:]+)?([ABab])(?!\w)")
_BOTH = re.compile(
    rf"(?i){_MARKS}(?:,|/|\||&|\+|or\b|and\b|nor\b|vs\b\.?|=+|≈|≡|~"
    r"|(?:is )?(?:tied|ties|even|equal|equals|level)\b(?: (?:with|to)\b)?|as well as\b|is (?:just )?as \w+ as\b"
    r"|plus\b|along with\b|together with\b|versus\b|and also\b|and/or\b)"
    rf"{_SECOND}|(?im:[ \t]*[;\\–—-][ \t]*[AB]\b\W*$)"
)
_PERHAPS = rf"(?:{_MARKS}(?:also|equally|even|likewise|maybe|perhaps|possibly|probably)\b)"
_ENDS = r"(?=[ \t*_`'\"”’)\]]*(?:[.;!?(\r\n]|\Z))"
_BOTH_APART = re.compile(
    rf"(?i){_APART}(?:n?or\b{_PERHAPS}*{_SECOND}|(?:and\b(?:/or\b)?{_PERHAPS}*|{_PERHAPS}+){_SECOND}{_ENDS})"
)
"""The second letter behind a comma, a dash or a bracket. Behind "and" it may begin a clause: "A, and B is worse"."""
_BEGUN = re.compile(rf"(?i){_APART}(?:/|\||&|\+|or|and|vs\.?){_MARKS}\Z")
"""What a cut reply may end with where a second letter was to follow."""
_LESS = re.compile(r"[ \t]*<[ \t]*[ABab](?!\w)")
_TIE = re.compile(
    r"(?im)[\s,.;:/|*_`'\"‘’“”(\[–—-]*(?:(?:but|though|although)\s+)?"
    r"(?:(?:it['’]?s|it is|this is|i\.?e\.?,?)\s+)?(?:an?\s+)?"
    r"(?:\w+ly\s+)*(?:(?:close|even|equal|fair|balanced|near)\s+)?"
    r"(?:(?:tied?|draw|toss-?\s?up|stalemate|dead heat|close call|even match|50\W{1,3}50)\b(?![ -]?break)"
    r"|(?:even|equal|neither|none|both|undecided|n/?a)\W*$"
    r"|平[局手分]|引き?分け|同等|同点|一样|一樣|相同|都|無勝負|무승부|동점|비[겼긴김]|ничья|поровну|одинаково|равны|оба)"
)
_WORD = re.compile(r"[ \t]+([^\W\d_]+(?:['’][^\W\d_]+)?)")
_CLAUSE = re.compile(
    r"(?:about|above|addressed|after|again|all|also|although|and|answered|as|at|based|because|before|being|but|by|can|"
    r"could|did|due|during|even|explained|followed|for|from|gave|given|got|had|handled|hands|here|how|however|i|"
    r"if|in|included|instead|is|it|its|itself|just|made|may|might|most|must|my|no|not|of|offered|on|only|our|outright|"
    r"over|overall|per|please|provided|rather|should|since|so|stayed|still|than|that|the|their|then|there|therefore|"
    r"these|they|this|those|though|through|to|too|took|was|we|went|were|what|when|where|whereas|which|while|who|why|"
    r"will|with|within|without|won|would|yet|you)\Z"
)
"""What may follow a letter on its line: a clause about it. After an article stands a noun: "A tie", "A close call"."""
_CLAUSE_ELSEWHERE = re.compile(
    r"(?:weil|denn|da|wegen|aufgrund|porque|pues|ya|debido|dado|pois|já|car|parce|puisque|grâce|perché|perche|poiché"
    r"|omdat|want|aangezien|vanwege|eftersom|därför|fordi|ponieważ|bo|gdyż|protože|neboť|deoarece|pentru|mert|koska"
    r"|çünkü|karena|sebab|vì|dahil|kwani)\Z"
)
"""The same where a judge answers in its pair's language: what means "because", which no tie begins with."""
_OTHER_SCRIPT = re.compile(rf"[ \t]+(?=[^\u0000-\u024f\u1e00-\u1eff])[^\W\d_A-Z]+(?!\w|{_MARKS}[AB](?!\w))")
"""A word that is no English noun, and that does not bind the other letter to this one ("A 和 B")."""
_LABEL = re.compile(r"[ \t]+([^\W\d_]+)[ \t]*[:：]")
_KNOWN_LABEL = re.compile(r"(?i)(?:explanations?|justification|rationale|reasons?|reasoning|why)\Z")
_NO_LABEL = re.compile(r"(?i)(?:both|equal|even|neither|none|undecided|wash)\Z")
_NAMED_AGAIN = re.compile(r"(?i)[ \t]+(?:answer|response|option|assistant)[ \t]+([AB])(?!\w)([ \t]+[^\W\d_])?")
_BETTER = (
    r"(?:better|best|briefer|clearer|deeper|fuller|longer|nicer|richer|safer|shorter|simpler|stronger"
    r"|(?:more|less)[ \t]+[^\W\d_]+(?:-[^\W\d_]+)*)"
)
_BETTER_ALONE = re.compile(
    rf"(?i)[ \t]+{_BETTER}(?:[ \t]+and[ \t]+(?:(?:more|less)[ \t]+)?[^\W\d_]+)?(?:[ \t]+(?:overall|here))?"
    r"(?:[ \t]*(?:[.;!)\r\n]|\Z)|[ \t]+(?:as|because|but|by|due|for|in|on|since)(?![\w-])"
    r"|[ \t]+than[ \t]+(?:(?:answer|response|option|assistant)[ \t]+)?(?:[AB](?!\w)|the other\b))"
)
"""A comparison that no noun follows: "A more detailed." is about A, "A more detailed answer" may be any."""
_BETTER_DOES = re.compile(r"(?i)[ \t]+(?:better|best|(?:more|less)[ \t]+[^\W\d_]+ly)[ \t]+([^\W\d_]+s)(?![\w-])")
"""A comparison in front of a verb, "A better answers the question"; behind an article the noun is a singular."""
_BETTER_BEGINS = re.compile(rf"[ \t]+(?=[A-Z][a-z])(?i:{_BETTER})\b(?!-|[ \t]+[A-Z])")
"""One that begins a sentence, which behind an article it does not."""
_NO_VERB = re.compile(
    r"(?:across|fairly|likely|nearly|perhaps|practically|really|roughly|series|virtually|yes|.*(?:ss|us|is))\Z"
)
_BOX = re.compile(r"\\(?:boxed|text|textbf|mathbf|mathrm)\{")


@lru_cache(maxsize=512)  # short replies come again and again
def parse_verdict(reply: str, *, cut: bool = False) -> Verdict | None:
    """Read the winner from a reply: a line that begins ``Choice: A`` or ``Choice: B``; None where none is named.

    Bold, quotes, brackets, case, trailing text and a sentence without a stop between are let pass; reasoning is taken
    off first (`without_reasoning`). A letter alone, both letters, two choices that contradict each other, a tie
    ("Choice: A tie"), a refusal and a thought that never ends name no winner. What follows the letter decides alike for
    A, which may be an article, and for B, which cannot: otherwise ties would be votes for the response shown first.

    A reply that was ``cut`` where its tokens ended may be a thought without marks whose end is missing: it names
    a winner only where it begins or ends with it.

    >>> parse_verdict("**Choice: B**, since it is shorter")
    'B'
    >>> parse_verdict("Choice: A or B") is None
    True
    """
    text = _BOX.sub(" ", without_reasoning(reply))
    named = {_letter_at(text, anchor.end(), cut=cut) for anchor in _ANCHOR.finditer(text)}
    if len(named) != 1 or (cut and not _at_an_end(text)):
        return None
    # A choice quoted inside a line does not name a winner, but it can contradict one.
    others = {match.group(1).upper() for match in _ANYWHERE.finditer(text)}
    (verdict,) = named
    return verdict if others <= {verdict} else None


def parse_choice(reply: str, *, order: Order, cut: bool = False) -> Choice | None:
    """Read the winner from a reply and undo the presentation order.

    >>> parse_choice("Choice: B", order="ba")
    'a'
    """
    verdict = parse_verdict(reply, cut=cut)
    return None if verdict is None else shown_as(verdict, order)


def shown_as(verdict: Verdict, order: Order) -> Choice:
    """Name the response of the pair that was shown as ``verdict`` in ``order``.

    >>> shown_as("A", "ab"), shown_as("A", "ba")
    ('a', 'b')
    """
    return "a" if (verdict == "A") == (order == "ab") else "b"


def _at_an_end(text: str) -> bool:
    """Whether a text begins with a choice, or ends with one."""
    return any(
        not text[: a.start()].strip() or not text[a.end() + 1 :].strip(" \t\n*_`.)]}\"'")
        for a in _ANCHOR.finditer(text)
    )


def _letter_at(text: str, start: int, *, cut: bool) -> Verdict | None:
    match = _LETTER.match(text, start)
    if match is None:
        return None
    end = match.end()
    if cut and _BEGUN.match(text, end):
        return None
    if _BOTH.match(text, end) or _BOTH_APART.match(text, end) or _LESS.match(text, end) or _TIE.match(text, end):
        return None
    verdict: Verdict = "A" if match.group(1) in "Aa" else "B"
    word = _WORD.match(text, end)
    if word is None or _begins_a_clause(word.group(1)) or _begins_a_sentence(text, end, verdict):
        return verdict
    return None  # "Choice: a tie", "Choice: A close call"


def _begins_a_clause(word: str) -> bool:
    """Whether a word can follow the name of a response, as verbs, adverbs and conjunctions do; not an article."""
    word = word.lower()
    verb_or_adverb = word.endswith(("s", "ly", "n't", "n’t")) and not _NO_VERB.match(word)
    return bool(verb_or_adverb or _CLAUSE.match(word) or _CLAUSE_ELSEWHERE.match(word))


def _begins_a_sentence(text: str, end: int, verdict: Verdict) -> bool:
    """Whether a sentence or a label begins behind the letter, and not the noun of an article."""
    if label := _LABEL.match(text, end):
        word = label.group(1)
        return bool(_KNOWN_LABEL.match(word)) or (
            word[1:].islower() and word[0].isupper() and not _NO_LABEL.match(word)
        )
    if again := _NAMED_AGAIN.match(text, end):
        return again.group(1).upper() == verdict or again.group(2) is not None
    if does := _BETTER_DOES.match(text, end):
        return not _NO_VERB.match(does.group(1).lower())
    return bool(_OTHER_SCRIPT.match(text, end) or _BETTER_ALONE.match(text, end) or _BETTER_BEGINS.match(text, end))


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
