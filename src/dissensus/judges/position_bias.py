"""Position bias of judges, from all that a store has of one."""

from __future__ import annotations

from collections.abc import Iterator

from dissensus.judges.language.choice_distribution import verdict_probabilities
from dissensus.judges.store.store import JudgmentStore
from dissensus.stats.agreement import position_bias as statistics
from dissensus.stats.agreement.position_bias import PositionBias


def position_bias(store: JudgmentStore, judge: str, *, temperature: float = 1.0, top_p: float = 1.0) -> PositionBias:
    """Measure the position bias of a judge, pairs under one persona compared with themselves in the other order.

    The winner of an order is the majority of its votes, or the more probable verdict of its choice distribution at the
    given temperature and top-p; an even split has none.
    """
    return statistics.position_bias(_verdicts(store, judge, temperature, top_p))


def _verdicts(store: JudgmentStore, judge: str, temperature: float, top_p: float) -> Iterator[statistics.Verdicts]:
    rows = store.rows(
        "SELECT pair_id, content, persona, shown, COUNT(*) FILTER (WHERE choice = 'a'), "
        "COUNT(*) FILTER (WHERE choice = 'b'), COUNT(*) FILTER (WHERE choice = 'tie') FROM judgments "
        "WHERE judge = ? AND choice IS NOT NULL GROUP BY pair_id, content, persona, shown "
        "ORDER BY pair_id, content, persona, shown",
        (judge,),
        many=True,
    )
    for pair, content, persona, shown, a, b, ties in rows:
        yield (pair, content, persona), shown, a + ties / 2, b + ties / 2
    for view in store.distributions(judge=judge):
        shares = verdict_probabilities(view.distribution, temperature=temperature, top_p=top_p)
        a, b = (shares.a, shares.b) if view.order == "ab" else (shares.b, shares.a)
        yield (view.pair_id, view.content, view.persona), view.order, a, b
