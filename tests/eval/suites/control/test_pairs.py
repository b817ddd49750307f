"""Pairs are what they claim: reachable, entered exactly, and not solved by doing nothing."""

from typing import Any

import numpy as np

from worldline.eval.suites.control.pairs import NUM_RANDOM, Pairs, find_pairs, random_policy, solved_by
from worldline.eval.suites.control.tasks import Task


def pairs(task: Task, protocol: str, **options: int) -> Pairs:
    settings: dict[str, Any] = {"offset": 10, "count": 6, "budget": 20, "context_frames": 3, "size": 24} | options
    return find_pairs(task, task.make(), protocol="strict" if protocol == "strict" else "moderate", **settings)


def test_a_pair_is_entered_and_its_goal_is_reached_by_what_was_shown(slide: Task) -> None:
    simulator = slide.make()
    for pair in pairs(slide, "moderate").pairs:
        pair.enter(simulator)
        assert np.array_equal(simulator.state(), pair.start)
        assert np.abs(simulator.render(24) - (pair.context[-1].permute(1, 2, 0).numpy() * 255).round()).max() == 0
        for action in pair.shown:
            simulator.step(action)
        assert np.array_equal(simulator.state(), pair.goal)
        assert len(pair.shown) == 10
        assert pair.context.shape == (3, 3, 24, 24)
        assert not slide.solved(pair.start, pair.start, pair.goal)


def test_a_strict_pair_withstands_standing_still_and_random_actions(slide: Task) -> None:
    simulator, found = slide.make(), pairs(slide, "strict")
    assert len(found.pairs) == 6
    for pair in found.pairs:
        pair.enter(simulator)
        assert not solved_by(slide, simulator, pair, lambda: np.zeros(2), budget=20)
        for index in range(NUM_RANDOM):
            pair.enter(simulator)
            assert not solved_by(slide, simulator, pair, random_policy(simulator, pair.seed, index), budget=20)
    assert found.refused["solved by standing still"] > 0


def test_the_same_seed_finds_the_same_pairs_and_another_one_others(slide: Task) -> None:
    one, two, other = (pairs(slide, "moderate", seed=seed).pairs for seed in (0, 0, 1))
    assert [pair.source for pair in one] == [pair.source for pair in two]
    assert not {pair.source for pair in one} & {pair.source for pair in other}
    assert all("validation" in pair.source for pair in one)
    assert len({pair.source for pair in one}) == len(one)


def test_where_nothing_is_hard_enough_nothing_is_found(slide: Task) -> None:
    found = pairs(slide, "strict", offset=1, count=1)
    assert not found.pairs
    assert sum(found.refused.values()) == 25
