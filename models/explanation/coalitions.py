"""Shapley values of a game: how a payoff is divided among players who can join in any order.

A player's Shapley value is the mean, over all orders of joining, of what the player adds when joining (Shapley 1953).
With few players all coalitions are evaluated, which is exact; with more, random orders are, each with its reverse: the
errors of the two largely cancel (Mitchell et al. 2022, https://arxiv.org/abs/2104.12199).

A mask (coalitions, players) says who has joined; the payoffs of its rows come from the model.
"""

import math
from functools import lru_cache

import numpy as np
import numpy.typing as npt

Mask = npt.NDArray[np.bool_]
Payoffs = npt.NDArray[np.float64]
Orders = npt.NDArray[np.intp]  # (orders, players): who joins first, second, …


@lru_cache(maxsize=16)
def all_coalitions(players: int) -> Mask:
    """(2**players, players): every coalition, from the empty one to that of all players."""
    numbers = np.arange(1 << players)[:, np.newaxis]
    mask: Mask = (numbers >> np.arange(players)) & 1 == 1
    mask.setflags(write=False)
    return mask


@lru_cache(maxsize=16)
def _steps(players: int) -> tuple[npt.NDArray[np.intp], Payoffs]:
    """The coalitions without each player (players, 2**(players - 1)), and the share of orders that pass through each.

    Of all orders of the n players, the share in which a certain player comes directly after a certain coalition of s
    players is s! (n - s - 1)! / n!.
    """
    mask = all_coalitions(players)
    without = np.array([np.flatnonzero(~mask[:, player]) for player in range(players)])
    orders = math.factorial(players)
    shares = [math.factorial(s) * math.factorial(players - s - 1) / orders for s in range(players)]
    weights = np.array(shares)[mask.sum(axis=1)[without]]
    without.setflags(write=False)
    weights.setflags(write=False)
    return without, weights


def exact_values(players: int, payoffs: Payoffs) -> Payoffs:
    """(players,): from the payoffs of `all_coalitions`. A player that never changes a payoff gets exactly 0."""
    if not players:
        return np.empty(0)
    without, weights = _steps(players)
    joined = without + (1 << np.arange(players))[:, np.newaxis]
    values: Payoffs = np.einsum("ij,ij->i", weights, payoffs[joined] - payoffs[without])
    return values


def paired_orders(players: int, pairs: int, rng: "np.random.Generator") -> Orders:
    """(2 * pairs, players): random orders, each followed by its reverse."""
    forward = rng.permuted(np.tile(np.arange(players), (pairs, 1)), axis=1)
    return np.stack([forward, forward[:, ::-1]], axis=1).reshape(2 * pairs, players)


def partial_coalitions(orders: Orders) -> Mask:
    """(orders * (players - 1), players): who has joined after the first, the second, … but the last of each order."""
    count, players = orders.shape
    place = np.empty_like(orders)  # when each player joins
    np.put_along_axis(place, orders, np.arange(players)[np.newaxis, :], axis=1)
    joined: Mask = place[:, np.newaxis, :] <= np.arange(players - 1)[:, np.newaxis]
    return joined.reshape(count * (players - 1), players)


def sampled_values(orders: Orders, payoffs: Payoffs, empty: float, full: float) -> Payoffs:
    """(pairs, players): what each player adds, as the mean over each pair of orders.

    payoffs: of `partial_coalitions(orders)`. empty, full: the payoffs of the empty coalition and of the coalition of
    all players. Each row sums to full - empty.
    """
    count, players = orders.shape
    path = np.empty((count, players + 1))
    path[:, 0], path[:, -1] = empty, full
    path[:, 1:-1] = payoffs.reshape(count, players - 1)
    added = np.empty((count, players))
    np.put_along_axis(added, orders, np.diff(path, axis=1), axis=1)
    by_pair: Payoffs = added.reshape(count // 2, 2, players).mean(axis=1)
    return by_pair
