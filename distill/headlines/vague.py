"""Wordings that leave the event open: with them a headline is truly ambiguous.

Each is used for every event of its key, and the posterior says how probable each of them is. The
notation is that of `wordings`.
"""

from __future__ import annotations

__all__ = ["VAGUE"]


def _vague(*wordings: str) -> dict[str, tuple[str, ...]]:
    """Hold two wordings to train on, one to validate on, one to test on."""
    return {"train": wordings[:2], "validation": wordings[2:3], "test": wordings[3:4]}


VAGUE: dict[tuple[str, ...], dict[str, tuple[str, ...]]] = {
    ("shares up", "shares down"): _vague(
        "see its [stock|shares] swing by {pct} in heavy trade",
        "watch its [stock|shares] move {pct} by the close",
        "see its market value change by {pct}",
        "move {pct} in early trading",
    ),
    ("boss exit", "job cuts"): _vague(
        "prepare for departures [among staff|at the top]",
        "thin the ranks of its managers",
        "lose several senior people",
        "part ways with several managers",
    ),
    ("share issue", "payout down"): _vague(
        "find {m} at the expense of [holders|shareholders]",
        "shore up its cash by {m} in a blow to [holders|shareholders]",
        "strengthen its cash by {m} to the dismay of holders",
        "ask [holders|shareholders] to bear a {m} burden",
    ),
    ("profit beat", "outlook up"): _vague(
        "please [investors|analysts] with its profit figures",
        "surprise [investors|analysts] with strong profit figures",
        "cheer the market with a profit update",
        "please the market with a strong profit update",
    ),
    ("profit miss", "outlook down"): _vague(
        "disappoint [investors|analysts] with its profit figures",
        "alarm [investors|analysts] with weak profit figures",
        "worry the market with a profit update",
        "disappoint the market with a weak profit update",
    ),
    ("target up", "rating up"): _vague(
        "win a more [upbeat|positive] call from {B}",
        "find {B} more [upbeat|positive] about its [stock|shares]",
        "hear a more upbeat tone from {B} on its stock",
        "see {B} turn more [upbeat|positive] on its stock",
    ),
    ("target down", "rating down"): _vague(
        "suffer a more [cautious|negative] call from {B}",
        "find {B} more [cautious|negative] about its [stock|shares]",
        "hear a more cautious tone from {B} on its stock",
        "see {B} turn more [cautious|negative] on its stock",
    ),
    ("rating up", "credit up"): _vague(
        "win an upgrade from {B}",
        "see {B} upgrade it by [one notch|two notches]",
        "find itself upgraded by {B}",
        "gain a better rating from {B}",
    ),
    ("rating down", "credit down"): _vague(
        "suffer a downgrade from {B}",
        "see {B} downgrade it by [one notch|two notches]",
        "find itself downgraded by {B}",
        "take a worse rating from {B}",
    ),
    ("product launch", "contract win"): _vague(
        "supply {G} with its latest {P}",
        "bring new {P} to {G}",
        "provide {G} with new {P}",
        "ship its latest {P} to {G}",
    ),
    ("product launch", "product approval"): _vague(
        "clear the last hurdle for its {X}",
        "make its {X} available in Europe",
        "open the market for its {X}",
        "bring its {X} a step closer to users in Europe",
    ),
    ("product recall", "product refusal"): _vague(
        "suffer a setback for its {X} on safety fears",
        "keep its {X} off the market on safety fears",
        "see safety fears hold back its {X}",
        "face a setback on safety fears over its {X}",
    ),
    ("company purchase", "deal talks"): _vague(
        "move closer to [owning|a purchase of] {G}",
        "court {G} with a {m} approach",
        "make a {m} approach to {G}",
        "pursue {G} in a {m} approach",
    ),
    ("unit sale", "deal talks"): _vague(
        "line up {G} for its {U} arm",
        "weigh a future with {G} for its {U} arm",
        "test the interest of {G} in its {U} arm",
        "seek a future for its {U} arm with {G}",
    ),
    ("deal dead", "deal talks"): _vague(
        "see its [merger|takeover] plans with {G} in doubt",
        "hit a snag in its [merger|takeover] plans with {G}",
        "reach a turning point in merger plans with {G}",
        "review its [merger|takeover] plans with {G}",
    ),
    ("payout up", "share buyback"): _vague(
        "hand more cash to [holders|shareholders]",
        "reward [holders|shareholders] with {m} of cash",
        "return more cash to holders",
        "give [holders|shareholders] {m} more cash",
    ),
    ("official probe", "state fine"): _vague(
        "run into trouble with {R} over {t}",
        "answer to {R} over {t}",
        "clash with {R} over {t}",
        "face trouble over {t} with {R}",
    ),
    ("lawsuit faced", "lawsuit filed"): _vague(
        "meet {G} in court over {t2}",
        "start a court fight with {G}",
        "go to trial with {G} over {t2}",
        "fight {G} in court over {t2}",
    ),
    ("lawsuit faced", "case settled"): _vague(
        "see its court case with {G} take a turn",
        "make a move in a court case with {G}",
        "turn a page in a court case with {G}",
        "change course in its court fight with {G}",
    ),
    ("outlook kept", "outlook down"): _vague(
        "sound cautious about its full-year [forecast|guidance]",
        "express doubt about its annual profit [forecast|guidance]",
        "voice caution about its annual outlook",
        "sound doubtful about its annual [forecast|guidance]",
    ),
    ("outlook kept", "outlook up"): _vague(
        "sound upbeat about its full-year [forecast|guidance]",
        "express confidence in its annual profit [forecast|guidance]",
        "voice confidence in its annual outlook",
        "sound confident about its annual [forecast|guidance]",
    ),
    ("labour strike", "pay deal"): _vague(
        "enter a final round on pay with {n} [staff|workers]",
        "bring its pay dispute with {n} [staff|workers] to a head",
        "reach a decisive hour on pay with staff",
        "see its pay dispute with [staff|workers] come to a head",
    ),
}
