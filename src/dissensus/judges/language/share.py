"""The share of people that a reply names, where a judge was asked for one instead of a winner."""

from __future__ import annotations

import re
from functools import lru_cache

from dissensus.judges.language.verdict import without_reasoning
from dissensus.records import Label, Order

_MARKS = r"[ \t*_`'\"“”\[\]()]*"
_ANCHOR = re.compile(rf"(?im)^[\s*_`'\"“”\[\](){{}}#>\ufeff\u200b-]*share{_MARKS}[:：]{_MARKS}")
_NUMBER = re.compile(rf"(?P<number>100(?:\.0+)?|[1-9]?[0-9](?:\.[0-9]+)?){_MARKS}(?P<percent>%?){_MARKS}\.?{_MARKS}$")
_BARE = re.compile(_MARKS)
_FRACTION = re.compile(r"[01]\.")


@lru_cache(maxsize=512)  # short replies come again and again
def parse_share(reply: str, *, cut: bool = False) -> float | None:
    """Read the percentage from a reply that is ``Share: 70``, or ``70`` alone; None where it is anything else.

    The number is from 0 to 100, with or without a percent sign; quotes, bold and a full stop are let pass. Behind
    reasons that come first it stands on a last line of its own that begins with ``Share:``, and what is said behind it
    has no number. A second share, a range, a number in words and one out of range name none; nothing is clipped. Nor
    does a decimal fraction up to 1 without a percent sign: 0.7 may mean 70 % as well as 0.7 %.

    Of a reply that was ``cut`` where its tokens ended, only what stands in front of a line break or a percent sign is
    known to be whole (7 may be the beginning of 70), and reasons in front of a share may go on behind it.

    Returns:
        Percent, 0 to 100, for the response that was shown as A.

    >>> parse_share("**Share: 70%**"), parse_share("0"), parse_share("Share: 60-70"), parse_share("0.7")
    (70.0, 0.0, None, None)
    """
    text = without_reasoning(reply).lstrip()
    anchors = list(_ANCHOR.finditer(text))
    if len(anchors) > 1:
        return None
    start = anchors[0].end() if anchors else _BARE.match(text).end()  # type: ignore[union-attr]
    line, broken, behind = text[start:].partition("\n")
    found = _NUMBER.match(line.rstrip())
    if found is None or re.search(r"\d", behind) or (not anchors and behind.strip()):
        return None
    if _FRACTION.match(found["number"]) and float(found["number"]) <= 1 and not found["percent"]:
        return None
    if cut and ((anchors and anchors[0].start() > 0) or not (broken or found["percent"])):
        return None
    return float(found["number"])


def share_of_a(percent: float, order: Order) -> tuple[Label, float]:
    """Undo the presentation order of a share: the side that more than half prefer, and the share for response a.

    >>> share_of_a(70, "ab"), share_of_a(70, "ba"), share_of_a(50, "ba")
    (('a', 0.7), ('b', 0.3), ('tie', 0.5))
    """
    share = (percent if order == "ab" else 100 - percent) / 100
    return "tie" if share == 0.5 else "a" if share > 0.5 else "b", share
