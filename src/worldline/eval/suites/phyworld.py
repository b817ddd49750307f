"""The protocol of PhyWorld (Kang et al., 2024): are balls in imagined video as fast as mechanics wants, within and beyond what was seen.

Three frames are shown, from the start of an episode; then the velocity of each ball, found in the imagined frames, is compared with the
simulator's, as long as the true ball is wholly in view. The truth is filmed again where the simulator is installed, since through H.264 the
parser alone is off by 0.01 to 0.02 m/s (docs/eval.md). Needs states `first_x`, `first_y` (and `second_x`, `second_y`), and the facts
`attribute.motion`, `attribute.ball_color`, `attribute.other_color`, `attribute.background_color`, `split`.

May import: envs.colors, eval.balls, eval.suites.*. Refuses to know: which world it is, how the simulator works.

Shapes: B windows, T frames.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from worldline.envs.colors import COLORS
from worldline.eval.balls import calibrate, color_shares, find_discs, touches_border, velocities
from worldline.eval.suites.episodes import Episodes, EvalPlan, roll
from worldline.eval.suites.figures import Figure, Sample, Suite, pooled
from worldline.eval.suites.refilm import refilm
from worldline.eval.video import Windows
from worldline.world import World

PROMPT_FRAMES = 3
MOST_FRAMES = 29
SPAN = 8
"""Frames that a velocity is taken over, in the truth alike: from frame to frame, the parser alone is off by 0.2 m/s at 64 px and 20 Hz."""

_FACTS = ("attribute.motion", "attribute.ball_color", "attribute.background_color")
_NAME = "PhyWorld velocity error"
_GROUND = "brown"
NUM_BALLS = {"uniform": 1, "collision": 2, "parabola": 1}


def measure_phyworld(world: World, episodes: Episodes, plan: EvalPlan) -> Suite:
    """Measure each kind of motion, on usual and on unusual episodes, and the ratio of the two."""
    why = _why_not(episodes)
    if why:
        return Suite(name=_NAME, not_measured={_NAME: why})
    figures: list[Figure] = []
    not_measured: dict[str, str] = {}
    rate = world.config.rate_hz or episodes.clips[0].rate_hz
    for motion in dict.fromkeys(str(clip.facts["attribute.motion"]) for clip in episodes.clips):
        if motion not in NUM_BALLS:
            not_measured[f"{_NAME}, {motion}"] = f"the protocol has {', '.join(NUM_BALLS)}"
            continue
        kind = [index for index, clip in enumerate(episodes.clips) if clip.facts["attribute.motion"] == motion]
        rows: dict[bool, tuple[Tensor, Tensor]] = {}
        for unusual in (False, True):
            among = [index for index in kind if episodes.is_unusual[index] == unusual]
            title = f"{_NAME}, {motion}, {'out of' if unusual else 'in'} distribution"
            measured = _velocity_errors(world, episodes, plan, among, motion=motion, rate=rate)
            if isinstance(measured, str):
                not_measured[title] = measured
                continue
            errors, owners, is_sharp = measured
            rows[unusual] = errors[:, :1], owners
            figures.append(_figure(title, errors, owners, plan, is_sharp=is_sharp))
        if len(rows) == 2:
            figures.append(_ratio(f"{_NAME}, {motion}, out of over in distribution", rows, plan))
    return Suite(name=_NAME, figures=tuple(figures), not_measured=not_measured)


def _why_not(episodes: Episodes) -> str | None:
    missing = [name for name in _FACTS if any(name not in clip.facts for clip in episodes.clips)]
    if missing:
        return f"not every episode has the facts {', '.join(missing)}; film the domain `balls`"
    if any(clip.states is None for clip in episodes.clips) or not {"first_x", "first_y"} <= set(episodes.state_names):
        return "the states have no components first_x and first_y; film the domain `balls`"
    unknown = {str(clip.facts[name]) for clip in episodes.clips for name in _FACTS[1:]} - COLORS.keys()
    return f"colours {', '.join(sorted(unknown))} are unknown" if unknown else None


def _velocity_errors(
    world: World, episodes: Episodes, plan: EvalPlan, among: list[int], *, motion: str, rate: float
) -> tuple[Tensor, Tensor, bool] | str:
    """(B, 4): mean length of the velocity error of the imagined, true, re-drawn and still balls of each window; their episodes (B,); and
    whether the truth was filmed again.
    """
    lengths = episodes.lengths()
    among = [index for index in among if lengths[index] > PROMPT_FRAMES + 1]
    if len(among) < 2:
        return f"needs two episodes of {PROMPT_FRAMES + 2} frames or more"
    num_frames = min(MOST_FRAMES, min(lengths[index] for index in among) - PROMPT_FRAMES)
    places = [(index, 0) for index in among[: plan.num_windows]]
    windows = episodes.cut(places, PROMPT_FRAMES, num_frames)
    imagined = torch.cat([windows.prompt[:, -1:], roll(world, windows, seed=plan.seed, batch_size=plan.batch_size)[0]], dim=1)
    true, is_sharp = _truth(world, episodes, [index for index, _ in places], num_frames)
    names = episodes.state_names
    states = torch.stack([episodes.states(place, PROMPT_FRAMES + num_frames)[PROMPT_FRAMES - 1 :] for place in places])
    facts = [episodes.clips[index].facts for index in among[: plan.num_windows]]
    palette = torch.stack([palette_of(fact, motion) for fact in facts])
    shares = {"imagined": color_shares(imagined, palette), "true": color_shares(true, palette)}
    shares["drawn"] = color_shares(_redrawn(world, windows), palette)
    span = min(SPAN, num_frames + 1)
    sums, weights = torch.zeros(len(places), 4), torch.zeros(len(places))
    for ball in range(NUM_BALLS[motion]):
        owner = ("first", "second")[ball]
        place = states[..., [names.index(f"{owner}_x"), names.index(f"{owner}_y")]]
        inside = ~touches_border(shares["true"][:, :, ball])
        size = shares["true"][:, 0, ball].sum((-2, -1))
        found = {name: find_discs(share[:, :, ball], size) for name, share in shares.items()}
        usable = inside & found["true"].isfinite().all(-1)
        if int(usable.sum()) < 2:
            continue
        slope, offset = calibrate(found["true"].masked_fill(~usable.unsqueeze(-1), torch.nan), place).T
        speed = {name: velocities(pixels * slope + offset, rate, span) for name, pixels in found.items()}
        speed["still"] = torch.zeros_like(speed["true"])
        wanted = velocities(place, rate, span)
        valid = usable.unfold(1, span, 1).all(-1).float()
        for column, name in enumerate(("imagined", "true", "drawn", "still")):
            sums[:, column] += ((speed[name] - wanted).norm(dim=-1) * valid).sum(1).float()
        weights += valid.sum(1)
    if int((weights > 0).sum()) < 2:
        return f"in fewer than two windows a ball is wholly in view for {span} frames"
    seen = weights > 0
    return sums[seen] / weights[seen, None], torch.tensor(among[: plan.num_windows])[seen], is_sharp


def _truth(world: World, episodes: Episodes, chosen: list[int], num_frames: int) -> tuple[Tensor, bool]:
    """(B, T + 1, 3, H, W): the last frame of the prompt and what followed, without the losses of a codec if that can be had."""
    clips = [episodes.clips[index] for index in chosen]
    sharp = refilm(clips)
    same = Episodes(clips if sharp is None else sharp, world, episodes.state_names)
    video = torch.stack([same.frames((index, 0), PROMPT_FRAMES + num_frames) for index in range(len(clips))])
    return video[:, PROMPT_FRAMES - 1 :], sharp is not None


def palette_of(facts: Mapping[str, object], motion: str) -> Tensor:
    """(N, 3): the ball, the other ball or, where there is none, the ground, and the background."""
    names = [str(facts["attribute.ball_color"])]
    if motion == "collision":
        names.append(str(facts.get("attribute.other_color", facts["attribute.ball_color"])))
    else:
        names.append(_GROUND)
    return torch.tensor([COLORS[name] for name in (*names, str(facts["attribute.background_color"]))]) / 255


@torch.no_grad()
def _redrawn(world: World, windows: Windows) -> Tensor:
    """The true frames through the world's own encoder and decoder: what perfect dynamics would give."""
    like = world.tokenizer.encoder_position
    video = torch.cat([windows.prompt, windows.future], dim=1).to(device=like.device, dtype=like.dtype)
    rows = [world.tokenizer.decode(world.tokenizer.encode(one[None]))[0].float().cpu() for one in video]
    return torch.stack(rows)[:, windows.prompt.shape[1] - 1 :]


def _figure(title: str, errors: Tensor, owners: Tensor, plan: EvalPlan, *, is_sharp: bool) -> Figure:
    ((value, interval),) = pooled(lambda means: means[..., 0], errors, owners)
    _, parser, drawn, still = errors.mean(0).tolist()
    floors = {"the parser on true frames": parser, "true frames encoded and decoded": drawn, "copy last frame": still}
    note = f"units of the states per second; {PROMPT_FRAMES} frames shown; velocities over {SPAN} frames; a lost ball stands still"
    note += "; the truth was filmed again, without a codec" if is_sharp else "; the truth as it was filmed, through its codec"
    count = Sample(num_windows=len(errors), num_episodes=len(owners.unique()), seeds=(plan.seed,))
    return Figure(name=title, value=value, interval=interval, floors=floors, note=note, sample=count)


def _ratio(title: str, rows: dict[bool, tuple[Tensor, Tensor]], plan: EvalPlan) -> Figure:
    """Mean error of unusual episodes over that of usual ones."""
    usual, unusual = rows[False][0], rows[True][0]
    values = torch.cat([torch.cat([usual, torch.ones_like(usual)], 1), torch.cat([unusual, torch.ones_like(unusual)], 1)])
    is_usual = torch.arange(len(values))[:, None] < len(usual)
    columns = torch.cat([values * is_usual, values * ~is_usual], dim=1)
    owners = torch.cat([rows[False][1], rows[True][1]])
    ((value, interval),) = pooled(lambda m: (m[..., 2] / m[..., 3]) / (m[..., 0] / m[..., 1]), columns, owners)
    note = "in the split `ood` of the domain `balls` radii, speeds, gravity and colours are unusual together"
    count = Sample(num_windows=len(values), num_episodes=len(owners.unique()), seeds=(plan.seed,))
    return Figure(name=title, value=value, interval=interval, floors={"equally good": 1.0}, note=note, sample=count)
