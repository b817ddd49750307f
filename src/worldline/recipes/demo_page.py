"""The demo's page: what was measured, beside the pictures it was measured on, and what was not reached.

May import: eval, data, recipes.demo_first_act, recipes.planning, recipes.watch. Refuses to know: how the figures came about.

Shapes: B windows, P prompt frames, T predicted frames.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from worldline.data import write_video
from worldline.eval import Windows
from worldline.eval.page import Html, Page, chart, code, contact_sheet, heading, paragraph, side_by_side_charts, table, video
from worldline.eval.predict import Prediction, compose_panels
from worldline.recipes.demo_first_act import FirstAct, write_first_act
from worldline.recipes.demo_verdicts import in_pixels
from worldline.recipes.planning import PlannedEpisode
from worldline.recipes.watch import side_by_side

_NUM_COLUMNS, _NUM_SHEETS = 6, 3
_SHOWN_COLOR, _IMAGINED_COLOR = (0.55, 0.57, 0.6), (0.95, 0.55, 0.1)


@dataclass(frozen=True, kw_only=True, slots=True)
class Steered:
    """One prompt under four constant actions, each towards a corner.

    Attributes:
        frames: (4, T, 3, H, W).
        start_px: distance of the agent to the four targets in the last frame of the prompt; None where it is not found.
        end_px: the same in the last imagined frame.
    """

    frames: Tensor
    start_px: tuple[float | None, ...]
    end_px: tuple[float | None, ...]

    def to_dict(self) -> dict[str, Any]:
        """The figures, for JSON."""
        return {"start_px": self.start_px, "end_px": self.end_px}


@dataclass(frozen=True, kw_only=True, slots=True)
class Evidence:
    """The pictures behind the figures.

    Attributes:
        windows: held-out windows.
        imagined: (B, T, 3, H, W), under the true actions.
        shuffled: (2, T, 3, H, W), the first two windows under each other's actions.
        steered: one prompt under four actions.
        rate_hz: frames per second.
        planned: an episode in the simulator.
        user: what became of the user's own video, if there is one.
        first: what a world that comes with the package did, if there is one.
    """

    windows: Windows
    imagined: Tensor
    shuffled: Tensor
    steered: Steered
    rate_hz: float
    planned: PlannedEpisode | None = None
    user: Prediction | None = None
    first: FirstAct | None = None


def write_page(folder: Path, figures: dict[str, Any], evidence: Evidence) -> Path:
    """Write `folder/index.html` and the videos in `folder/media/`, and return the page's path."""
    media = folder / "media"
    media.mkdir(parents=True, exist_ok=True)
    (media / "user.mp4").unlink(missing_ok=True)  # of an earlier call with a video
    world = figures["world"]
    page = Page(
        "A world, learnt from video",
        f"A network of {world['num_parameters']:,} parameters was trained from scratch for {figures['settings']['minutes']:g} minutes, on "
        f"{world['training frames']:,} frames of Push-T: a disc goes where an action sends it and shoves a T-shaped block. Shown a few "
        "frames, it imagines the rest. Everything below is measured on episodes that it never saw.",
    )
    if evidence.first is not None:
        page.section("First act: a world that comes along", *write_first_act(evidence.first, media), anchor="first-act")
    page.section("What came out", *_summary(figures), anchor="summary")
    page.section("True and imagined video", *_videos(figures, evidence, media), anchor="video")
    page.section("Error per frame", *_errors(figures), anchor="error")
    page.section("Does it listen to its actions?", *_actions(figures, evidence), anchor="actions")
    page.section("Does the agent go where it should?", *_agent(figures), anchor="agent")
    page.section("Are its gradients right?", *_gradients(figures), anchor="gradients")
    if evidence.planned is not None:
        page.section("Planned in the world, done in the simulator", *_planning(figures, evidence.planned, media), anchor="planning")
    if evidence.user is not None:
        page.section("Your video", *_user_video(figures, evidence.user, media), anchor="user-video")
    page.section("What was trained, and how to repeat it", *_facts(figures), anchor="facts")
    return page.write(folder / "index.html")


def _summary(figures: dict[str, Any]) -> list[Html]:
    verdicts = figures["verdicts"]
    rows = [(v["question"], v["figure"], v["bar"], "met" if v["met"] else "missed") for v in verdicts]
    num_missed = sum(not v["met"] for v in verdicts)
    text = "Every bar is met." if num_missed == 0 else f"{num_missed} of {len(verdicts)} bars are missed."
    losing = [str(index + 1) for index, gain in enumerate(figures["rollouts"]["gain_db"]) if gain <= 0]
    if losing:
        text += f" The world does not beat copying the last frame at frame {', '.join(losing)}."
    if figures["rollouts"]["shuffled_action_interval"][0] <= 1:
        text += " It cannot be told from a world that ignores its actions: the interval of the ratio reaches 1."
    note = "In brackets: 95 % intervals, bootstrapped over episodes: windows of one episode stay together."
    return [paragraph(text), table(("Question", "Measured", "Bar", ""), rows, stacked=True), paragraph(note)]


def _videos(figures: dict[str, Any], evidence: Evidence, media: Path) -> list[Html]:
    windows, imagined = evidence.windows, evidence.imagined
    true = torch.cat([windows.prompt, windows.future], dim=1)
    dreamt = torch.cat([windows.prompt, imagined], dim=1)
    columns = slice(0, _NUM_COLUMNS)
    frames = side_by_side(true[columns], torch.cat([dreamt, (true - dreamt).abs()], dim=-2)[columns])
    caption = (
        f"{len(true[columns])} held-out windows, the first that were drawn. Above: the true video; middle: what the world imagines from "
        "the first frames and the actions alone; below: their difference. The strip is grey while the world is shown the video, orange "
        "while it imagines."
    )
    blocks = [_film(media / "rollouts.mp4", frames, evidence.rate_hz, caption, num_shown=windows.prompt.shape[1])]
    for index in range(min(_NUM_SHEETS, len(windows))):
        caption = f"Window {index + 1} of {figures['rollouts']['num_windows']}. The difference is drawn twice as bright."
        blocks.append(
            _sheet(windows.prompt[index], {"true": windows.future[index], "imagined": imagined[index]}, evidence.rate_hz, caption)
        )
    return blocks


def _errors(figures: dict[str, Any]) -> list[Html]:
    rollouts = figures["rollouts"]
    curves = {"the world": rollouts["world"], **rollouts["floors"]}
    psnr = {name: curve["psnr_db"] for name, curve in curves.items()}
    error = {name: [10 ** (-value / 10) for value in values] for name, values in psnr.items()}
    frames = range(1, len(rollouts["gain_db"]) + 1)
    where = f"{rollouts['num_windows']} windows, {rollouts['prompt_frames']} frames of prompt."
    rows = [
        (
            str(frame),
            *(f"{values[frame - 1]:.2f}" for values in psnr.values()),
            f"{rollouts['gain_db'][frame - 1]:+.2f}",
        )
        for frame in frames
    ]
    x = [float(frame) for frame in frames]
    return [
        paragraph(
            "Copying the last frame says that nothing changes; a random frame is the last frame of another window; linear extrapolation "
            "lets each pixel go on as it last changed. A world that is no better than these has learnt nothing."
        ),
        side_by_side_charts(
            chart(psnr, f"PSNR, higher is better. {where}", x=x, x_label="predicted frame", y_label="PSNR, dB"),
            chart(error, f"Mean squared error, lower is better. {where}", x=x, x_label="predicted frame", y_label="MSE", y_includes=(0,)),
        ),
        table(("Frame", *(f"{name}, dB" for name in psnr), "gain over copying, dB"), rows),
    ]


def _actions(figures: dict[str, Any], evidence: Evidence) -> list[Html]:
    rollouts, steered = figures["rollouts"], evidence.steered
    low, high = rollouts["shuffled_action_interval"]
    text = (
        f"Given another window's actions, the squared error is {rollouts['shuffled_action_ratio']:.2f} times as large (95 % interval "
        f"{low:.2f} to {high:.2f}, {rollouts['num_windows']} windows) as under the true ones, from the same prompt and the same noise. A "
        "world that ignores its actions shows 1."
    )
    prompt = evidence.windows.prompt[0]
    shuffled = {"true": evidence.windows.future[0], "true actions": evidence.imagined[0], "other actions": evidence.shuffled[0]}
    corners = ("to top left", "to top right", "to bottom left", "to bottom right")
    arrivals = "; ".join(
        f"{corner} {in_pixels(a)} before, {in_pixels(b)} after"
        for corner, a, b in zip(corners, steered.start_px, steered.end_px, strict=True)
    )
    return [
        paragraph(text),
        _sheet(prompt, shuffled, evidence.rate_hz, "Window 1, under its own actions and under those of window 2.", difference=False),
        heading("One prompt, four futures"),
        _sheet(
            prompt,
            dict(zip(corners, steered.frames, strict=True)),
            evidence.rate_hz,
            "The same state, rolled out with the agent sent towards each corner. Distance of the imagined agent to where it was sent: "
            f"{arrivals}. There is no true video for these; a block in the way would stop the real agent too.",
            difference=False,
        ),
    ]


def _agent(figures: dict[str, Any]) -> list[Html]:
    agent = figures["agent"]
    x = [float(frame) for frame in range(1, len(agent["found_share"]) + 1)]
    distances = {"the world": agent["distance_px"], "copy last frame": agent["copy_last_px"], "random frame": agent["random_px"]}
    where = f"{agent['num_windows']} windows, frames of {figures['settings']['image_size']} px."
    note = (
        f"Median distance to the true agent. Where it is not found it counts as infinitely far, so a gap says that half are lost. {where}"
    )
    found = {"the world": agent["found_share"]}
    return [
        paragraph("The agent, a blue disc of a few pixels, is the first thing that a blurred world loses. It is looked for by its colour."),
        side_by_side_charts(
            chart(distances, note, x=x, x_label="predicted frame", y_label="distance, px", y_includes=(0,)),
            chart(found, f"Share of frames with an agent. {where}", x=x, x_label="predicted frame", y_label="share", y_includes=(0, 1)),
        ),
        table(
            ("Frame", "found in", *distances),
            [
                (f"{x[index]:g}", f"{agent['found_share'][index]:.0%}", *(in_pixels(values[index]) for values in distances.values()))
                for index in range(len(x))
            ],
        ),
    ]


def _gradients(figures: dict[str, Any]) -> list[Html]:
    gradients = figures["gradients"]
    rows = [(row["name"], f"{row['analytic']:+.6e}", f"{row['numeric']:+.6e}", f"{row['relative_error']:.1e}") for row in gradients["rows"]]
    text = (
        f"The squared distance between the true frame and the last of {gradients['num_frames']} imagined ones, differentiated through "
        "decoder, rollout and prompt, in float64, on the first window. The components shown are those with the largest derivatives. "
        "Actions are scaled to [-1, 1]."
    )
    return [paragraph(text), table(("With respect to", "autograd", "central differences", "relative error"), rows)]


def _planning(figures: dict[str, Any], planned: PlannedEpisode, media: Path) -> list[Html]:
    episodes = figures["planning"]
    sampling = (
        f"Plans draw a frame in {figures['planning_sampling_steps']} steps, the rollouts above in {figures['world']['sampling_steps']}."
    )
    rows = [
        (
            f"seed {episode['seed']}",
            *(in_pixels(episode[when]["agent_px"]) for when in ("start", "end", "random_end")),
            f"{in_pixels(episode['start']['block_px'])} to {in_pixels(episode['end']['block_px'])}",
        )
        for episode in episodes
    ]
    goal = planned.goal.expand_as(planned.frames)
    frames = torch.cat([planned.frames, planned.imagined, goal], dim=-1)
    replan_every = figures["replan_every"]
    caption = (
        f"Left: the real simulator; middle: what the latest plan expected, at most {replan_every} frames ahead; right: the goal. Seed "
        f"{planned.seed}, {episodes[0]['num_plans']} plans, {episodes[0]['num_evaluations']:,} imagined futures. While the strip is "
        "grey the agent waits and the middle is the real video."
    )
    times = [f"{index / planned.rate_hz:.1f} s" for index in range(len(planned.frames))]
    num_shown = figures["rollouts"]["prompt_frames"]
    sheet = {"real": list(planned.frames), "expected": [*[None] * num_shown, *planned.imagined[num_shown:]], "goal": list(goal)}
    enlarged = F.interpolate(frames, scale_factor=max(1, 192 // frames.shape[-2]), mode="nearest")
    text = (
        "The goal is a picture: the same scene with the agent elsewhere. The cross-entropy method searches the world for actions whose "
        f"imagined future looks like it; the first {replan_every} are done in the real simulator, and it plans again from what really "
        f"happened. The random policy starts from the same state and is the mean of {episodes[0]['num_random']} episodes. {sampling}"
    )
    return [
        paragraph(text),
        _film(media / "planned.mp4", enlarged, planned.rate_hz, caption, num_shown=num_shown),
        contact_sheet(
            sheet, f"The same episode, at the times above the pictures (seed {planned.seed}).", labels=times, num_shown=num_shown
        ),
        table(("Episode", "agent to goal at the start", "at the end", "random policy", "block to goal"), rows),
    ]


def _user_video(figures: dict[str, Any], user: Prediction, media: Path) -> list[Html]:
    (height, width), size = user.source_size, user.prompt.shape[-1]
    text = (
        f"{figures['user_video']['name']}, {width} x {height} px, stretched to {size} x {size} px at {user.rate_hz:g} frames per second. "
        "This world has only ever seen Push-T: it knows nothing of other scenes, and will turn what it is shown into what it knows. To "
        "learn your scene, train on your own videos with worldline train."
    )
    if user.psnr_db:
        measured = ", ".join(f"{a:.1f} dB ({b:.1f})" for a, b in zip(user.psnr_db, user.copy_last_psnr_db, strict=True))
        text += f" PSNR per frame, in brackets that of copying the last frame: {measured}. One window."
    else:
        text += " The video ends with the prompt, so there is no truth to compare with."
    imagined = user.imagined[0]
    rows = {"true": [*user.truth, *[None] * (len(imagined) - len(user.truth))], "imagined": list(imagined)}
    caption = "No actions are known here, so the world imagines under its null action."
    return [
        paragraph(text),
        _film(media / "user.mp4", compose_panels(user), user.rate_hz, "Left: your video; middle: imagined; right: their difference."),
        _sheet(user.prompt, rows, user.rate_hz, caption, difference=False),
    ]


def _facts(figures: dict[str, Any]) -> list[Html]:
    world, settings = figures["world"], figures["settings"]
    rows = [
        ("parameters", f"{world['num_parameters']:,}, of which dynamics {world['num_dynamics_parameters']:,}"),
        ("training video", f"{world['training frames']:,} frames of {settings['image_size']} px, from gym-pusht, filmed for this run"),
        ("held out", f"{figures['held_out_episodes']} episodes, {figures['rollouts']['num_windows']} windows"),
        ("tokenizer", str(world["tokenizer"])),
        ("dynamics", str(world["dynamics"])),
        ("sampling", f"{world['sampling_steps']} steps per frame"),
        ("hardware", str(world["hardware"])),
        ("seed", str(world["seed"])),
        ("weights", f"SHA-256 {world['fingerprint'][:16]}..."),
    ]
    return [
        table(("What", "Value"), rows, stacked=True),
        paragraph("The command that made this page; the budget is wall time, so another machine trains for another number of steps:"),
        code(figures["command"]),
        paragraph("All figures are in figures.json beside this page; the world is in the folder world and is loaded with:"),
        code(f'import worldline as wl\n\nworld = wl.World.load("{settings["out"]}/world")'),
    ]


def _film(path: Path, frames: Tensor, rate_hz: float, caption: str, *, num_shown: int = 0) -> Html:
    """Write a video (T, 3, H, W) with a strip on top that tells what was shown from what is imagined; no strip if nothing was shown."""
    if num_shown:
        strip = frames.new_tensor(_IMAGINED_COLOR).view(1, 3, 1, 1).repeat(len(frames), 1, 6, frames.shape[-1])
        strip[:num_shown] = frames.new_tensor(_SHOWN_COLOR).view(1, 3, 1, 1)
        frames = torch.cat([strip, frames], dim=-2)
    write_video(path, frames, rate_hz)
    return video(f"{path.parent.name}/{path.name}", caption, poster=frames[min(num_shown, len(frames) - 1)])


def _sheet(prompt: Tensor, rows: dict[str, Any], rate_hz: float, caption: str, *, difference: bool = True) -> Html:
    """A contact sheet of a prompt (P, 3, H, W), drawn once, and what follows it; times count from the last frame that was shown."""
    num_shown, num_frames = len(prompt), max(len(frames) for frames in rows.values())
    labels = [f"{(index - num_shown + 1) / rate_hz:+.1f} s" for index in range(num_shown + num_frames)]
    first = next(iter(rows))
    cells = {name: [*(prompt if name == first else [None] * num_shown), *frames] for name, frames in rows.items()}
    if difference:
        true, imagined = rows.values()
        cells["difference"] = [*[None] * num_shown, *((true - imagined).abs() * 2).clamp(0, 1)]
    return contact_sheet(cells, caption, labels=labels, num_shown=num_shown)
