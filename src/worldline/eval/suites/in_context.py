"""Suite `in_context`: does a longer prompt help where friction, mass or viscosity differ between episodes.

The same frames are predicted after their last 2, 4, 8 and 16 predecessors, with the same noise, so everything is paired but the prompt. If
the error falls, the world has measured something in the prompt: that makes a prompt a calibration.

May import: envs, eval.suites.*. Refuses to know: which world it is.

Shapes: B windows, P prompt frames, T predicted frames.
"""

import torch
from torch import Tensor

from worldline.envs.zoo import DOMAINS, load_domain
from worldline.eval.metrics import copy_last
from worldline.eval.suites.episodes import Episodes, EvalPlan, roll
from worldline.eval.suites.figures import Figure, Line, Sample, Suite, pooled
from worldline.eval.suites.video import squared_error
from worldline.eval.video import Windows
from worldline.world import World

PROMPTS = (2, 4, 8, 16)
AHEAD = 16

_WORDS = ("friction", "mass", "viscosity", "density", "damping", "stiffness", "elasticity", "restitution", "gravity", "hardness", "kept")


def measure_in_context(world: World, episodes: Episodes, plan: EvalPlan) -> Suite:
    """Measure the error at the predicted frame 16, or the last that fits, against the length of the prompt."""
    name = "error against prompt length"
    varying = varying_physics(episodes)
    if not varying:
        return Suite(
            name="in-context", not_measured={name: "no physical attribute (friction, mass, viscosity ...) differs between the episodes"}
        )
    longest = max(PROMPTS)
    lengths = sorted(episodes.lengths(), reverse=True)
    num_frames = min(AHEAD, lengths[(len(lengths) - 1) // 2] - longest)
    if num_frames < 1:
        return Suite(
            name="in-context", not_measured={name: f"most episodes are shorter than a prompt of {longest} frames and one to predict"}
        )
    places = episodes.places(longest + num_frames, plan.num_windows, seed=plan.seed)
    windows = episodes.cut(places, longest, num_frames)
    errors = {}
    for prompt in PROMPTS:
        shorter = with_prompt(windows, prompt)
        error = [squared_error(roll(world, shorter, seed=seed, batch_size=plan.batch_size)[0], windows.future) for seed in plan.seeds]
        errors[prompt] = torch.stack(error).mean(0)
    copy = squared_error(copy_last(windows.prompt, num_frames), windows.future)
    not_measured = {}
    context = world.config.dynamics.context_frames
    if context < longest:
        not_measured[f"prompts of more than {context} frames"] = f"the world looks back {context} frames: a longer prompt is cut to them"
    return Suite(
        name="in-context",
        figures=tuple(_figures(windows, errors, copy, plan, varying=varying, context=context)),
        lines=(_line(errors, copy),),
        not_measured=not_measured,
    )


def varying_physics(episodes: Episodes) -> tuple[str, ...]:
    """Physical attributes that differ between the episodes, by the domain's word for what is physical, else by their names."""
    names = sorted({name for clip in episodes.clips for name in clip.facts if name.startswith("attribute.")})
    differing = [name for name in names if len({clip.facts.get(name) for clip in episodes.clips}) > 1]
    physical: set[str] = set()
    for domain in {str(clip.facts.get("domain", "")) for clip in episodes.clips} & DOMAINS.keys():
        try:
            physical |= {f"attribute.{one.name}" for one in load_domain(domain).attributes if one.kind == "physics"}
        except ImportError:
            continue
    return tuple(n.removeprefix("attribute.") for n in differing if n in physical or any(word in n for word in _WORDS))


def with_prompt(windows: Windows, prompt_frames: int) -> Windows:
    """The same windows with only the last frames of their prompts."""
    skipped = windows.prompt.shape[1] - prompt_frames
    actions = None if windows.actions is None else windows.actions[:, skipped:]
    return Windows(prompt=windows.prompt[:, skipped:], future=windows.future, actions=actions, episodes=windows.episodes)


def _figures(
    windows: Windows, errors: dict[int, Tensor], copy: Tensor, plan: EvalPlan, *, varying: tuple[str, ...], context: int
) -> list[Figure]:
    last = windows.future.shape[1]
    count = Sample(num_windows=len(windows), num_episodes=windows.num_episodes, seeds=plan.seeds)
    at = torch.stack([error[:, -1] for error in errors.values()], dim=1)
    bar = float(copy[:, -1].mean())
    figures = []
    for prompt, (value, interval) in zip(errors, pooled(lambda means: means, at, windows.clusters), strict=True):
        name = f"squared error at frame {last} after a prompt of {prompt}"
        floors = {"copy last frame": bar}
        note = "" if prompt <= context else f"cut to the {context} frames that the world looks back"
        figures.append(Figure(name=name, value=value, interval=interval, floors=floors, note=note, sample=count))
    ends = [(f"at frame {last}", at[:, [0, -1]])]
    ends.append((f"over {last} frames", torch.stack([errors[PROMPTS[0]].mean(1), errors[PROMPTS[-1]].mean(1)], dim=1)))
    for where, pair in ends:
        ((value, interval),) = pooled(lambda means: 1 - means[..., 1] / means[..., 0], pair, windows.clusters)
        name = f"relative fall of the error {where} from a prompt of {PROMPTS[0]} to {PROMPTS[-1]}"
        note = f"differs between episodes: {', '.join(varying)}"
        floors = {"the prompt does not matter": 0.0}
        figures.append(Figure(name=name, value=value, interval=interval, floors=floors, note=note, sample=count))
    return figures


def _line(errors: dict[int, Tensor], copy: Tensor) -> Line:
    series = {f"frame {frame}": [float(error[:, frame - 1].mean()) for error in errors.values()] for frame in _shown(copy.shape[1])}
    return Line(title="Error against prompt length", series=series, x=list(errors), x_label="prompt frames", y_label="squared error")


def _shown(num_frames: int) -> list[int]:
    return sorted({frame for frame in (1, 4, 16, num_frames) if frame <= num_frames})
