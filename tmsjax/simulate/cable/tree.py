"""The order in which a cell's linear system is solved: passive compartments by a schedule that is computed once.

A backward Euler step solves ``(C/dt + g_i) u_i + sum_j G_ij (u_i - u_j) = r_i`` on a tree. A compartment without
voltage-dependent channels has a constant diagonal, so that its elimination is a constant too, whatever the lane and the
step: as long as it has at most two neighbours left, it goes first ("rake" a leaf, "compress" a link of a chain), and
its neighbours become neighbours with a constant conductance. What remains is a tree of the compartments with channels
and of some branch points, which is eliminated from the leaves to the root (Hines 1984, Int J Biomed Comput 15:69).
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray

from tmsjax.cells.types import CableModel


@dataclasses.dataclass(frozen=True, eq=False)
class Graph:
    """Compartments (0 to n - 1, rows of the CableModel) and the branch points (n, n + 1, ...) that join three or more.

    ``a``, ``b`` (e,) are the ends of every link and ``us`` (e,) its conductance in uS; a tree, so e = nodes - 1.
    """

    n: int
    nodes: int
    a: Int[ndarray, " e"]
    b: Int[ndarray, " e"]
    us: Float[ndarray, " e"]


@dataclasses.dataclass(frozen=True, eq=False)
class Schedule:
    """How to solve the system of one cell and one time step.

    Static eliminations in order, s of them: node ``node``, up to two neighbours ``left``, ``right`` (itself with a
    weight of zero if it has fewer) with the weights ``to_left``, ``to_right`` = G / diagonal, and ``inverse`` = 1 /
    diagonal. Forwards ``r[left] += to_left r[node]`` (right alike); backwards ``u[node] = inverse r[node] + to_left
    u[left] + to_right u[right]``. Then d dynamic nodes from the leaves to the root: ``tree`` with ``parent`` (the
    root's is itself) and ``us`` (0 for the root). ``diagonal`` (nodes,) is the constant part of a dynamic node's.
    """

    node: Int[ndarray, " s"]
    left: Int[ndarray, " s"]
    right: Int[ndarray, " s"]
    to_left: Float[ndarray, " s"]
    to_right: Float[ndarray, " s"]
    inverse: Float[ndarray, " s"]
    tree: Int[ndarray, " d"]
    parent: Int[ndarray, " d"]
    us: Float[ndarray, " d"]
    diagonal: Float[ndarray, " nodes"]


def graph(cable: CableModel) -> Graph:
    """The links of a cell: a section's end that joins two compartments is their resistances in series, and no node."""
    n = cable.n
    ends = np.asarray(cable.parent)
    mohm = np.asarray(cable.ri_mohm, float)
    children: dict[int, list[int]] = {}
    for node in np.flatnonzero(ends >= n).tolist():  # compartments that hang on a section's end
        children.setdefault(int(ends[node]), []).append(node)
    links = [(node, int(ends[node]), mohm[node]) for node in range(n) if 0 <= ends[node] < n]
    nodes = n
    for end, below in children.items():
        above = int(ends[end])
        if len(below) == 1:
            links.append((below[0], above, mohm[end] + mohm[below[0]]))
        else:
            links += [(nodes, above, mohm[end])] + [(node, nodes, mohm[node]) for node in below]
            nodes += 1
    a, b, r = (np.array(column) for column in zip(*links, strict=True))
    return Graph(n, nodes, a.astype(np.int64), b.astype(np.int64), 1.0 / r)


class Step(NamedTuple):
    """One static elimination (see ``Schedule``); those of one ``turn`` are no neighbours of each other."""

    node: int
    left: int
    right: int
    to_left: float
    to_right: float
    inverse: float
    turn: int


def schedule(tree: Graph, diagonal_us: Float[ndarray, " n"], active: Bool[ndarray, " n"]) -> Schedule:
    """How to solve with a constant membrane diagonal (C/dt + g, uS) in which only ``active`` rows get more later."""
    neighbours, diagonal = network(tree, diagonal_us)
    steps, gone = eliminate(neighbours, diagonal, may_go(tree, active))
    order, parent = _hines(neighbours, gone)
    us = [neighbours[node].get(above, 0.0) for node, above in zip(order, parent, strict=True)]
    node, left, right = np.array([step[:3] for step in steps], int).reshape(-1, 3).T
    to_left, to_right, inverse = np.array([step[3:6] for step in steps], float).reshape(-1, 3).T
    return Schedule(
        node=node, left=left, right=right, to_left=to_left, to_right=to_right, inverse=inverse,
        tree=np.array(order), parent=np.array(parent), us=np.array(us), diagonal=diagonal,
    )  # fmt: skip


def network(tree: Graph, diagonal_us: Float[ndarray, " n"]) -> tuple[list[dict[int, float]], ndarray]:
    """Every node's neighbours with the conductances to them, and the whole diagonal (nodes,)."""
    neighbours: list[dict[int, float]] = [{} for _ in range(tree.nodes)]
    diagonal = np.concatenate([np.asarray(diagonal_us, float), np.zeros(tree.nodes - tree.n)])
    for a, b, us in zip(tree.a.tolist(), tree.b.tolist(), tree.us.tolist(), strict=True):
        neighbours[a][b] = neighbours[b][a] = us
        diagonal[a] += us
        diagonal[b] += us
    return neighbours, diagonal


def may_go(tree: Graph, active: Bool[ndarray, " n"]) -> Bool[ndarray, " nodes"]:
    """Nodes whose diagonal is constant; the root stays, so that something is left to begin from."""
    static = ~np.concatenate([active, np.zeros(tree.nodes - tree.n, bool)])
    static[0] = False
    return static


def eliminate(neighbours: list[dict[int, float]], diagonal: ndarray, static: ndarray) -> tuple[list[Step], ndarray]:
    """Eliminate static nodes with at most two neighbours, turn by turn; changes the neighbours and the diagonal."""
    gone = np.zeros(len(neighbours), bool)
    steps: list[Step] = []
    waiting = [node for node in np.flatnonzero(static).tolist() if len(neighbours[node]) <= 2]
    turn = 0
    while waiting:
        later: set[int] = set()
        touched: set[int] = set()
        for node in waiting:
            if gone[node] or len(neighbours[node]) > 2:
                continue
            if node in touched:  # a neighbour went in this turn
                later.add(node)
                continue
            around = list(neighbours[node].items())
            inverse = 1.0 / diagonal[node]
            for other, us in around:
                diagonal[other] -= us * us * inverse
                del neighbours[other][node]
            if len(around) == 2:
                (left, a), (right, b) = around
                neighbours[left][right] = neighbours[right][left] = a * b * inverse
            (left, a), (right, b) = [*around, (node, 0.0), (node, 0.0)][:2]
            steps.append(Step(node, left, right, a * inverse, b * inverse, inverse, turn))
            gone[node] = True
            touched.update(other for other, _ in around)
            later.update(other for other, _ in around if static[other])
        waiting, turn = sorted(later), turn + 1
    return steps, gone


def _hines(neighbours: list[dict[int, float]], gone: ndarray) -> tuple[list[int], list[int]]:
    """The nodes that are left and their parents, leaves first; by height, so that one does not wait for the last."""
    parent, order = {0: 0}, [0]
    for node in order:
        below = [other for other in neighbours[node] if other != parent[node]]
        parent.update(dict.fromkeys(below, node))
        order += below
    assert len(order) == (~gone).sum()
    height = dict.fromkeys(order, 0)
    for node in reversed(order):
        if node:
            height[parent[node]] = max(height[parent[node]], height[node] + 1)
    order = sorted(order, key=lambda node: (height[node], node))
    return order, [parent[node] for node in order]
