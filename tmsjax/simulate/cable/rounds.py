"""The same elimination in rounds, for devices that do thousands of things at once: rake and compress.

In every round nodes that have at most two neighbours left and are no neighbours of each other go together; a tree of
thousands of compartments is gone after some twenty. First those whose diagonal is constant (their coefficients are),
then the compartments with channels. A node takes from any number of neighbours in a round: ``Sums`` lists from which.

Miller & Reif 1985 (26th FOCS: parallel tree contraction).
"""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray

from tmsjax.simulate.cable.tree import Graph, eliminate, may_go, network

INDEX = np.int32
"""Of all indices: the same whether JAX's 64-bit numbers are on or not."""


@dataclasses.dataclass(frozen=True, eq=False)
class Sums:
    """``x[target] += sum_j y[source[:, j]]``: distinct targets (t,), sources (t, j); y has a last row of zeros."""

    target: Int[ndarray, " t"]
    source: Int[ndarray, "t j"]


@dataclasses.dataclass(frozen=True, eq=False)
class Round:
    """Nodes that go together, with their neighbours ``a``, ``b`` (themselves where they have fewer).

    ``edge_a``, ``edge_b`` are the links to them (the last of the edges, of conductance 0, where there is none) and
    ``edge_new`` the link that comes to be between them (the first of ``new_links`` gets the first's, ...). ``share``
    (k, 2) and ``inverse`` (k,) are the constant coefficients of a static round, else None. ``sums`` adds up what the
    neighbours get: y is what all ``a`` get, then what all ``b`` get.
    """

    node: Int[ndarray, " k"]
    a: Int[ndarray, " k"]
    b: Int[ndarray, " k"]
    edge_a: Int[ndarray, " links"]
    edge_b: Int[ndarray, " links"]
    new_from: Int[ndarray, " f"]
    new_links: Int[ndarray, " f"]
    share: Float[ndarray, "k 2"] | None
    inverse: Float[ndarray, " k"] | None
    sums: Sums


@dataclasses.dataclass(frozen=True, eq=False)
class Rounds:
    """All rounds but for the root, which is left: static ones first.

    ``diagonal`` (nodes,) is the constant part of the diagonal of the nodes of dynamic rounds, ``edges`` (e + 1,) the
    conductances of their links before the first of them, 0 for those that come to be and for the last.
    """

    static: list[Round]
    dynamic: list[Round]
    diagonal: Float[ndarray, " nodes"]
    edges: Float[ndarray, " e_plus_1"]
    root: int


def rounds(tree: Graph, diagonal_us: Float[ndarray, " n"], active: Bool[ndarray, " n"]) -> Rounds:
    """The rounds of a tree with a constant membrane diagonal (uS) in which only ``active`` rows get more later."""
    neighbours, diagonal = network(tree, diagonal_us)
    steps, gone = eliminate(neighbours, diagonal, may_go(tree, active))
    static = []
    for number in sorted({step.turn for step in steps}):
        some = [step for step in steps if step.turn == number]
        node, a, b = np.array([step[:3] for step in some], INDEX).T
        share = np.array([[step.to_left, step.to_right] for step in some])
        none = np.zeros(0, INDEX)
        inverse = np.array([step.inverse for step in some])
        static.append(Round(node, a, b, none, none, none, none, share, inverse, _sums(node, a, b)))

    edges: list[float] = []
    links: list[dict[int, int]] = [{} for _ in range(tree.nodes)]
    for a in np.flatnonzero(~gone).tolist():
        for b, us in neighbours[a].items():
            if a < b:
                links[a][b] = links[b][a] = len(edges)
                edges.append(us)
    left = set(np.flatnonzero(~gone).tolist()) - {0}
    plan: list[list[tuple]] = []
    while left:
        plan.append(_one_round(links, left, edges))
        left -= {entry[0] for entry in plan[-1]}
    edges.append(0.0)
    dynamic = []
    for entries in plan:
        node, a, b, edge_a, edge_b, new = np.array(
            [[len(edges) - 1 if x is None else x for x in entry] for entry in entries], INDEX
        ).T
        made = np.flatnonzero(new != len(edges) - 1).astype(INDEX)
        dynamic.append(Round(node, a, b, edge_a, edge_b, made, new[made], None, None, _sums(node, a, b)))
    return Rounds(static, dynamic, diagonal, np.array(edges), 0)


def _one_round(links: list[dict[int, int]], left: set[int], edges: list[float]) -> list[tuple]:
    """Take nodes with at most two neighbours out of a tree: (node, a, b, edge to a, to b, new edge) of each."""
    out, kept = [], set()
    for node in sorted(left, key=lambda node: (len(links[node]), node)):
        if node in kept or len(links[node]) > 2:
            continue
        around = list(links[node].items())
        kept.update(other for other, _ in around)
        for other, _ in around:
            del links[other][node]
        (a, edge_a), (b, edge_b) = [*around, (node, None), (node, None)][:2]
        new = None
        if len(around) == 2:
            new = links[a][b] = links[b][a] = len(edges)
            edges.append(0.0)
        out.append((node, a, b, edge_a, edge_b, new))
    return out


def _sums(node: ndarray, a: ndarray, b: ndarray) -> Sums:
    k = len(node)
    by_target: dict[int, list[int]] = {}
    for place, (own, other) in enumerate(zip(np.tile(node, 2).tolist(), [*a.tolist(), *b.tolist()], strict=True)):
        if own != other:
            by_target.setdefault(other, []).append(place)
    most = max((len(places) for places in by_target.values()), default=1)
    source = np.full((len(by_target), most), 2 * k, INDEX)
    for row, places in enumerate(by_target.values()):
        source[row, : len(places)] = places
    return Sums(np.array(list(by_target), INDEX), source)
