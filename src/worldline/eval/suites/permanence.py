"""Object permanence: does what went behind an occluder come out again.

Needs the label `event.hidden` or `event.occluded` of each frame. The prompt ends before the object is hidden. What counts are the pixels
of its first frames in view again that differ from the last hidden frame: there the object is in the truth, and was not before. The score is
one minus the squared error there over that of a video in which it stays away: 1 if it comes back as it should, 0 as if it had ceased to be.

May import: eval.suites.*. Refuses to know: which world it is, how objects look.
"""

import torch

from worldline.eval.suites.episodes import Episodes, EvalPlan, Place, roll
from worldline.eval.suites.figures import Figure, Sample, Suite, pooled
from worldline.eval.suites.video import MOVED
from worldline.world import World

LABELS = ("event.hidden", "event.occluded")

_MOST_FRAMES = 32
_NUM_BACK = 3  # frames in view again that are judged


def measure_permanence(world: World, episodes: Episodes, plan: EvalPlan) -> Suite:
    """Measure it where the labels say that something was hidden and came back."""
    name = "object permanence"
    label = next((one for one in LABELS if any(one in clip.labels for clip in episodes.clips)), None)
    if label is None:
        return Suite(name=name, not_measured={name: f"the data has no label {' or '.join(LABELS)}: no occluder that it knows of"})
    found = [(index, times) for index in range(len(episodes)) if (times := _hidden(episodes, index, label, plan.prompt_frames))]
    if len(found) < 2:
        why = f"in fewer than two episodes something is hidden after a prompt of {plan.prompt_frames} frames and seen again in time"
        return Suite(name=name, not_measured={name: why})
    rows, numbers = [], []
    for index, (first, back) in found[: plan.num_windows]:
        num_frames = back - first + _NUM_BACK
        place: Place = (index, (first - plan.prompt_frames) * episodes.skips[index])
        window = episodes.cut([place], plan.prompt_frames, num_frames)
        imagined = roll(world, window, seed=plan.seed, batch_size=1)[0, 0]
        true, away = window.future[0, -_NUM_BACK:], window.future[0, back - first - 1]
        object_there = ((true - away).abs().amax(1, keepdim=True) > MOVED).float()
        errors = [((frames - true).square() * object_there).sum() for frames in (imagined[-_NUM_BACK:], away.expand_as(true))]
        rows.append(torch.stack(errors))
        numbers.append(index)
    ((score, interval),) = pooled(lambda means: 1 - means[..., 0] / means[..., 1], torch.stack(rows), torch.tensor(numbers))
    figure = Figure(
        name="object permanence score",
        value=score,
        interval=interval,
        floors={"the object stays away": 0.0},
        sample=Sample(num_windows=len(rows), num_episodes=len(rows), seeds=(plan.seed,)),
        note=f"label {label}; 1: it comes back as it should",
    )
    return Suite(name=name, figures=(figure,))


def _hidden(episodes: Episodes, index: int, label: str, prompt_frames: int) -> tuple[int, int] | None:
    """The first frame hidden, and the first in view again, at the world's rate; None if there is no such stretch."""
    labels = episodes.clips[index].labels
    if label not in labels:
        return None
    hidden = labels[label][:: episodes.skips[index]].bool().flatten().tolist()
    for first in range(prompt_frames, len(hidden)):
        if hidden[first] and not any(hidden[first - prompt_frames : first]):
            back = next((frame for frame in range(first, len(hidden)) if not hidden[frame]), None)
            if back is not None and back + _NUM_BACK <= len(hidden) and back - first + _NUM_BACK <= _MOST_FRAMES:
                return first, back
    return None
