"""What the demo asks of its world, and whether the figures are good enough.

May import: nothing. Refuses to know: how the figures came about, how they are shown.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

MEAN_GAIN_DB, ACTION_RATIO, FOUND_SHARE, GRADIENT_ERROR = 1.0, 1.2, 0.9, 1e-5


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """A question, what was measured, what would be enough, and whether it is."""

    question: str
    figure: str
    bar: str
    met: bool


def judge(figures: dict[str, Any]) -> list[Verdict]:
    """The verdicts on the figures of a demo, in the order of its page."""
    return [*_prediction(figures["rollouts"]), *_agent(figures["agent"]), _gradients(figures["gradients"]), _planning(figures["planning"])]


def in_pixels(distance: float | None) -> str:
    """A distance with its unit, not to be broken; None is an agent that is not found."""
    return "not found" if distance is None else f"{distance:.1f}\u00a0px"


def _prediction(rollouts: dict[str, Any]) -> list[Verdict]:
    gains, (low, high) = rollouts["gain_db"], rollouts["gain_interval_db"]
    worst = min(range(len(gains)), key=lambda index: gains[index])
    ratio, (ratio_low, ratio_high) = rollouts["shuffled_action_ratio"], rollouts["shuffled_action_interval"]
    windows = f"{rollouts['num_windows']} windows"
    return [
        Verdict(
            question=f"Better than copying the last frame, on average over {len(gains)} frames",
            figure=f"{rollouts['mean_gain_db']:+.2f} dB [{low:+.2f}, {high:+.2f}], {windows}",
            bar=f"> {MEAN_GAIN_DB:+g} dB",
            met=rollouts["mean_gain_db"] > MEAN_GAIN_DB,
        ),
        Verdict(
            question="Better than copying the last frame, at every frame",
            figure=f"least {gains[worst]:+.2f} dB, at frame {worst + 1}, {windows}",
            bar="> 0 dB",
            met=gains[worst] > 0,
        ),
        Verdict(
            question="Its actions matter: error under another window's actions over error under the true ones",
            figure=f"{ratio:.2f} [{ratio_low:.2f}, {ratio_high:.2f}], {windows}",
            bar=f"> {ACTION_RATIO:g}",
            met=ratio > ACTION_RATIO,
        ),
    ]


def _agent(agent: dict[str, Any]) -> list[Verdict]:
    found, distances, floors = min(agent["found_share"]), agent["distance_px"], agent["copy_last_px"]
    behind = [index + 1 for index, pair in enumerate(zip(distances, floors, strict=True)) if _far(pair[0]) >= _far(pair[1])]
    # Noise has spots of any colour: an agent that is found anywhere at all is not seen.
    near = all(_far(distance) < _far(chance) for distance, chance in zip(distances, agent["random_px"], strict=True))
    windows = f"{agent['num_windows']} windows"
    return [
        Verdict(
            question="The agent stays visible in the imagined frames",
            figure=f"found in {found:.0%} at the worst frame{'' if near else ', but no nearer than chance'}, {windows}",
            bar=f">= {FOUND_SHARE:.0%}, and nearer to the true one than in a random frame",
            met=found >= FOUND_SHARE and near,
        ),
        Verdict(
            question="The agent is nearer to the true one than the place where it was last seen, at every frame",
            figure=(f"not at frame {', '.join(map(str, behind))}" if behind else "at every frame")
            + f"; median at the last one {in_pixels(distances[-1])}, {windows}",
            bar=f"< copying, {in_pixels(floors[-1])} at the last frame",
            met=not behind,
        ),
    ]


def _gradients(gradients: dict[str, Any]) -> Verdict:
    worst = gradients["worst_relative_error"]
    return Verdict(
        question="Gradients agree with finite differences",
        figure=f"worst relative error {worst:.1e} of {len(gradients['rows'])} derivatives",
        bar=f"<= {GRADIENT_ERROR:.0e}",
        met=worst <= GRADIENT_ERROR,
    )


def _planning(episodes: Sequence[dict[str, Any]]) -> Verdict:
    distances = [tuple(episode[when]["agent_px"] for when in ("start", "end", "random_end")) for episode in episodes]
    start, end, floor = (sum(values) / len(values) for values in zip(*distances, strict=True))
    num_nearer = sum(end < min(start, floor) for start, end, floor in distances)
    return Verdict(
        question="Plans made in the world work in the real simulator: the agent's distance to its goal",
        figure=f"mean {in_pixels(start)} at the start, {in_pixels(end)} at the end; {num_nearer} of {len(episodes)} episodes pass",
        # One episode can come near by luck, so all of them have to.
        bar=f"in each episode nearer than at the start and than a random policy, whose mean is {in_pixels(floor)}",
        met=num_nearer == len(episodes),
    )


def _far(distance: float | None) -> float:
    return math.inf if distance is None else distance
