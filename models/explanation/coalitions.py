"""Shapley values of a game: how a payoff is divided among players who can join in any order.

A player's Shapley value is the mean increase of the payoff when the player joins, over all orders (Shapley 1953). With
few players all coalitions are evaluated, which is exact. With more players random orders are evaluated, each with its
reverse, because the errors of the two largely cancel (Mitchell et al. 2022, https://arxiv.org/abs/2104.12199).

A mask (coalitions, players) is true for the players of each coalition. The model computes the payoffs of its rows.
"""

import math
from functools import lru_cache

import numpy as np
import numpy.typing as npt

Mask = npt.NDArray[np.bool_]
Payoffs = npt.NDArray[np.float64]
Orders = npt.NDArray[np.intp]  # (orders, players): the players in the order in which they join


@lru_cache(maxsize=16)
def all_coalitions(players: int) -> Mask:
    """(2**players, players): every coalition, from the empty coalition to the coalition of all players."""
    numbers = np.arange(1 << players)[:, np.newaxis]
    mask: Mask = (numbers >> np.arange(players)) & 1 == 1
    mask.setflags(write=False)
    return mask


@lru_cache(maxsize=16)
def _joining_steps(players: int) -> tuple[npt.NDArray[np.intp], Payoffs]:
    """The coalitions without each player (players, 2**(players - 1)), and for each the fraction of orders in which it
    occurs.

    The fraction of orders of n players in which a given player joins directly after a given coalition of s players is
    s! (n - s - 1)! / n!.
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
    """(players,): exact Shapley values from the payoffs of `all_coalitions`; exactly 0 for a player that never changes
    a payoff."""
    if not players:
        return np.empty(0)
    without, weights = _joining_steps(players)
    joined = without + (1 << np.arange(players))[:, np.newaxis]
    values: Payoffs = np.einsum("ij,ij->i", weights, payoffs[joined] - payoffs[without])
    return values


def paired_orders(players: int, pairs: int, rng: "np.random.Generator") -> Orders:
    """(2 * pairs, players): random orders, each followed by its reverse."""
    forward = rng.permuted(np.tile(np.arange(players), (pairs, 1)), axis=1)
    return np.stack([forward, forward[:, ::-1]], axis=1).reshape(2 * pairs, players)


def partial_coalitions(orders: Orders) -> Mask:
    """(orders * (players - 1), players): the coalition after each player of each order has joined, except the last
    player."""
    count, players = orders.shape
    place = np.empty_like(orders)  # the position of each player in each order
    np.put_along_axis(place, orders, np.arange(players)[np.newaxis, :], axis=1)
    joined: Mask = place[:, np.newaxis, :] <= np.arange(players - 1)[:, np.newaxis]
    return joined.reshape(count * (players - 1), players)


def sampled_values(orders: Orders, payoffs: Payoffs, empty: float, full: float) -> Payoffs:
    """(pairs, players): the increase of the payoff when each player joins, as the mean of each pair of orders.

    payoffs: those of `partial_coalitions(orders)`. empty, full: the payoffs of the empty coalition and of the coalition
    of all players. Each row sums to full - empty.
    """
    count, players = orders.shape
    path = np.empty((count, players + 1))
    path[:, 0], path[:, -1] = empty, full
    path[:, 1:-1] = payoffs.reshape(count, players - 1)
    added = np.empty((count, players))
    np.put_along_axis(added, orders, np.diff(path, axis=1), axis=1)
    by_pair: Payoffs = added.reshape(count // 2, 2, players).mean(axis=1)
    return by_pair
