"""Films any simulated domain: one episode becomes one clip that says everything that is known about it.

An episode is a function of (domain, seed, split, policy). `replay` runs it again with the same actions and some attribute changed: what
would have happened, had the table been slippery.

May import: interfaces, envs.simulator, numpy, torch. Refuses to know: which simulators there are, files.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Literal, get_args

import numpy as np
import torch

from worldline.envs.simulator import Act, Simulator, Value
from worldline.interfaces import Clip

Split = Literal["train", "validation", "ood"]

SPLITS: tuple[Split, ...] = get_args(Split)

SEEDS_PER_SPLIT = 2**29
"""Each split has its own range of simulator seeds, so that no episode of one can be an episode of another."""

_ATTRIBUTES, _POLICY = 0, 1  # separate streams of random numbers: a policy that draws more must not change a colour


def simulator_seed(seed: int, split: Split) -> int:
    """The seed that a simulator is reset with in episode `seed` of a split; below 2**31, and never the same in two splits.

    Raises:
        ValueError: if there is no such split, or the seed is out of its range.
    """
    if split not in SPLITS:
        raise ValueError(f"split {split!r} is unknown; choose one of {', '.join(SPLITS)}")
    if not 0 <= seed < SEEDS_PER_SPLIT:
        raise ValueError(f"seed is {seed}; give one from 0 to {SEEDS_PER_SPLIT - 1}")
    return SPLITS.index(split) * SEEDS_PER_SPLIT + seed


def draw_attributes(
    simulator: Simulator | type[Simulator],
    *,
    seed: int,
    split: Split,
    unusual: Collection[str] = (),
    fixed: Mapping[str, Value] | None = None,
) -> dict[str, Value]:
    """The attributes of an episode: usual values, in the split `ood` unusual ones where there are any; if `unusual` names some, of these.

    Those that `fixed` gives are as it says; the others are drawn as without it.

    Raises:
        ValueError: if there is no such attribute, or it has no unusual values.
    """
    names = [attribute.name for attribute in simulator.attributes]
    if unknown := sorted((fixed or {}).keys() - set(names)):
        raise ValueError(f"{simulator.name} has no attribute {', '.join(unknown)}; it has {', '.join(names)}")
    able = [attribute.name for attribute in simulator.attributes if attribute.unusual is not None]
    if unknown := sorted(set(unusual) - set(able)):
        raise ValueError(f"{simulator.name} has no unusual {', '.join(unknown)}; there are unusual {', '.join(able) or 'ones of nothing'}")
    wanted = (unusual or able) if split == "ood" else ()
    generator = np.random.default_rng([simulator_seed(seed, split), _ATTRIBUTES])
    drawn = {attribute.name: attribute.draw(generator, unusual=attribute.name in wanted) for attribute in simulator.attributes}
    return drawn | dict(fixed or {})


def record(
    simulator: Simulator,
    *,
    seed: int,
    split: Split = "train",
    policy: str | None = None,
    num_frames: int = 64,
    sizes: Sequence[int] = (64,),
    unusual: Collection[str] = (),
    fixed: Mapping[str, Value] | None = None,
) -> tuple[Clip, ...]:
    """Film one episode, at several picture sizes at once; the clips differ in their frames only.

    Args:
        simulator: is reset first; what it did before does not matter.
        seed: number of the episode in its split.
        split: `train`, `validation`, or `ood`, whose attributes have unusual values.
        policy: one of the simulator's; its most interesting one if None.
        num_frames: frames of the clip, T.
        sizes: sides of the square pictures, in pixels.
        unusual: attributes that have unusual values in the split `ood`; all that can if empty.
        fixed: attributes that are given in place of drawn.

    Returns:
        For each size a clip with frames (T, 3, size, size), actions (T, A) or None, states (T, D), text the first caption; labels
        `event.<name>` (T,) bool, of what happened on the way to that frame; facts `domain`, `seed`, `split`, `policy`, `captions`, one per
        line, and `attribute.<name>`.

    Raises:
        ValueError: if an argument is out of range, or the simulator gives what its class does not promise (NaN, for one).
    """
    policy = simulator.policy_names[0] if policy is None else policy
    if policy not in simulator.policy_names:
        raise ValueError(f"policy {policy!r} is unknown in {simulator.name}; choose one of {', '.join(simulator.policy_names)}")
    generator = np.random.default_rng([simulator_seed(seed, split), _POLICY])
    attributes = draw_attributes(simulator, seed=seed, split=split, unusual=unusual, fixed=fixed)
    facts = {"domain": simulator.name, "seed": seed, "split": split, "policy": policy}
    return _film(simulator, attributes, facts, lambda: simulator.policy(policy, generator), num_frames=num_frames, sizes=sizes)


def replay(simulator: Simulator, clip: Clip, **changed: Value) -> Clip:
    """The episode of `clip` again, with the same seed and the same actions, and some attributes `changed`: a counterfactual.

    With nothing changed, it is the same clip. The fact `changed` names what was changed.

    Raises:
        ValueError: if `clip` was not recorded by `record` from this domain, or there is no such attribute.
    """
    facts = {name: clip.facts[name] for name in ("domain", "seed", "split", "policy") if name in clip.facts}
    if len(facts) < 4 or facts["domain"] != simulator.name:
        raise ValueError(f"{clip.source}: not an episode of {simulator.name}; its facts are {', '.join(sorted(clip.facts)) or 'none'}")
    names = [attribute.name for attribute in simulator.attributes]
    if unknown := sorted(changed.keys() - set(names)):
        raise ValueError(f"{simulator.name} has no attribute {', '.join(unknown)}; it has {', '.join(names)}")
    if missing := [name for name in names if f"attribute.{name}" not in clip.facts]:
        raise ValueError(f"{clip.source}: its facts lack the attribute {', '.join(missing)}")
    attributes = {name: clip.facts[f"attribute.{name}"] for name in names} | changed
    if changed:
        facts["changed"] = " ".join(sorted(changed))
    actions = iter([None] * len(clip) if clip.actions is None else clip.actions.numpy())
    (again,) = _film(simulator, attributes, facts, lambda: lambda: next(actions), num_frames=len(clip), sizes=(clip.frames.shape[-1],))
    return again


def _film(
    simulator: Simulator,
    attributes: Mapping[str, Value],
    facts: Mapping[str, Value],
    make_policy: Callable[[], Act],
    *,
    num_frames: int,
    sizes: Sequence[int],
) -> tuple[Clip, ...]:
    if num_frames < 2 or not sizes or min(sizes) < 1:
        raise ValueError(f"got {num_frames} frames of sizes {tuple(sizes)}; give at least 2 frames, and sizes of at least 1 pixel")
    simulator.reset(simulator_seed(int(facts["seed"]), _split(facts)), attributes)
    act = make_policy()
    pictures: dict[int, list[np.ndarray]] = {size: [] for size in sizes}
    actions, states, events = [], [], []
    for frame in range(num_frames):
        for size, taken in pictures.items():
            taken.append(_picture(simulator, size))
        states.append(_state(simulator))
        events.append([bool(simulator.events()[name]) for name in simulator.event_names])
        action = _action(simulator, act())
        actions.append(action)
        if frame + 1 < num_frames:
            simulator.step(action)
    captions = list(dict.fromkeys(simulator.captions()))
    first = int(facts["seed"]) % len(captions)  # another phrasing comes first in each episode
    captions = captions[first:] + captions[:first]
    happened = torch.tensor(events, dtype=torch.bool)
    facts = {
        **facts,
        "captions": "\n".join(captions),
        **{f"attribute.{name}": value for name, value in attributes.items()},
    }
    known_actions = [action for action in actions if action is not None]
    return tuple(
        Clip(
            frames=torch.from_numpy(np.stack(taken)).permute(0, 3, 1, 2).contiguous(),
            rate_hz=simulator.rate_hz,
            source="/".join(str(facts[name]) for name in ("domain", "split", "policy", "seed")),
            actions=torch.from_numpy(np.stack(known_actions)) if known_actions else None,
            states=torch.from_numpy(np.stack(states)).float(),
            text=captions[0],
            labels={f"event.{name}": happened[:, index] for index, name in enumerate(simulator.event_names)},
            facts=facts,
        )
        for taken in pictures.values()
    )


def _split(facts: Mapping[str, Value]) -> Split:
    for split in SPLITS:
        if facts["split"] == split:
            return split
    raise ValueError(f"split {facts['split']!r} is unknown; choose one of {', '.join(SPLITS)}")


def _action(simulator: Simulator, action: np.ndarray | None) -> np.ndarray | None:
    """The action as it is stored, so that a replay from the stored clip does exactly the same."""
    if simulator.action_spec is None:
        return None
    if action is None or not np.isfinite(action).all() or np.shape(action) != (simulator.action_spec.dim,):
        raise ValueError(f"{simulator.name}: the policy chose {action}; an action has {simulator.action_spec.dim} finite components")
    low, high = (np.array(bound, np.float32) for bound in (simulator.action_spec.low, simulator.action_spec.high))
    return np.clip(np.asarray(action, np.float32), low, high)


def _picture(simulator: Simulator, size: int) -> np.ndarray:
    picture = simulator.render(size)
    if picture.shape != (size, size, 3) or picture.dtype != np.uint8:
        raise ValueError(f"{simulator.name}: drew {picture.shape} {picture.dtype} instead of {(size, size, 3)} uint8")
    return picture.copy()  # some simulators draw into the same memory every time


def _state(simulator: Simulator) -> np.ndarray:
    state = np.asarray(simulator.state(), np.float64)
    if state.shape != (len(simulator.state_names),) or not np.isfinite(state).all():
        raise ValueError(f"{simulator.name}: its state is {state}; it should have {len(simulator.state_names)} finite components")
    return state
