"""`worldline train`: see `cli.arguments.Train`.

May import: recipes, data, the other files of cli. Refuses to know: how training works.
"""

import json
import math
from dataclasses import asdict, replace
from typing import Any

from worldline.cli import train_zoo
from worldline.cli.arguments import Train
from worldline.cli.load import load_world
from worldline.cli.report import Report, interrupted, table
from worldline.data import EpisodeStore
from worldline.envs.pusht.simulator import RATE_HZ as PUSHT_RATE_HZ
from worldline.recipes import Recipe, TrainingInterruptedError, cars, collect_push, droid, push, read_cars, read_droid
from worldline.recipes.folder import SourceConfig, folder, frame_skip_of, name_actions, read_source
from worldline.recipes.measured import interval_in_words, train_and_measure
from worldline.recipes.mirrored import with_mirror_images
from worldline.recipes.push import FRAME_SKIP
from worldline.recipes.recolored import with_other_colors
from worldline.recipes.start import size_of
from worldline.scale import read_json, write_whole
from worldline.train import TrainingDivergedError
from worldline.world import World

_TOKENIZER_SHARE = 0.4
_LONGEST_TOKENIZER_MINUTES = {"push": 12}  # it has learnt what it can by then
_PATCH = 16
_LONGEST_WINDOW = 12
_DEFAULT_MINUTES = 60.0
_RECORD = "command.json"
_USUAL_RATE_HZ = 5.0  # of recordings; simulators have rates of their own
_MAY_CHANGE = ("json", "num_workers", "out")  # a folder may be moved
# what runs from before these options did
_SINCE = {
    "data": None,
    "only": [],
    "shares": {},
    "policy": "mixture",
    "steps": None,
    "label_share": 1.0,
    "start": None,
    "infer_labels": False,
    "new_dynamics": False,
    "train_tokenizer": False,
    "mirror": None,
    "recolor": 0,
    "packing": None,
    "act_hz": None,
    "layers": None,
    "windows": None,
    "lr_scale": 1.0,
}
_BY_NAME = ("push", "zoo", "balls")


def run(arguments: Train) -> Report:
    """Read or film, hold out, train, measure."""
    arguments = _named(arguments)
    _check(arguments)
    record = _agreed(arguments)
    start = None if arguments.start is None else load_world(arguments.start)
    if start is not None:
        arguments = _as_start(arguments, start)
    if arguments.recipe in train_zoo.RECIPES:
        arguments.out.mkdir(parents=True, exist_ok=True)
        return train_zoo.run(arguments, start=start, before=lambda: _note(arguments, record))
    store = _store(arguments)
    train, held_out = store.split_by_source(_held_out(arguments.held_out), seed=arguments.seed)
    recipe = _recipe(arguments, train, held_out)
    if arguments.mirror is not None:
        train = with_mirror_images(train, arguments.out / "data_mirrored", negated=arguments.mirror)
    if arguments.recolor:
        piece = 2 * recipe.dynamics_batch[1] * recipe.frame_skip
        colored = arguments.out / "data_recolored"
        train = with_other_colors(train, colored, copies=arguments.recolor, piece_frames=piece, seed=arguments.seed)
    _note(arguments, record)
    try:
        _, figures = train_and_measure(
            recipe, train, held_out, arguments.out, start=start, num_workers=arguments.num_workers, seed=arguments.seed
        )
    except TrainingInterruptedError as reason:
        return interrupted(reason)
    except TrainingDivergedError as error:
        raise ValueError(str(error)) from error
    return Report(figures=figures, text=_text(arguments, figures))


def _as_start(arguments: Train, start: World) -> Train:
    """The command with the sizes of the world that it goes on from.

    Raises:
        ValueError: if it asks for others, and not for --new-dynamics.
    """
    arguments = replace(arguments, image_size=start.config.tokenizer.image_size)
    if arguments.new_dynamics:
        return arguments
    size, packing = size_of(start), start.config.dynamics.packing
    for name, asked, given in (("size", arguments.size, size), ("packing", arguments.packing, packing)):
        if asked not in (None, given):
            raise ValueError(
                f"--{name} is {asked}, and the world {arguments.start} has {given}; leave --{name} away, or take its tokenizer alone with "
                "--new-dynamics"
            )
    return replace(arguments, size=size, packing=packing)


def _note(arguments: Train, record: dict[str, Any]) -> None:
    write_whole(arguments.out / _RECORD, json.dumps(record, indent=1))


def _named(arguments: Train) -> Train:
    """A recipe may be named in place of the source.

    Raises:
        ValueError: if a folder here has that name too.
    """
    names = [str(path) for path in arguments.source]
    if len(names) != 1 or names[0] not in _BY_NAME or arguments.recipe != "folder":
        return arguments
    (name,) = names
    if arguments.source[0].exists():
        raise ValueError(f"{name} is a recipe, and a folder here: write --recipe {name}, or {arguments.source[0].absolute()}")
    return replace(arguments, source=(), recipe=names[0])


def _check(arguments: Train) -> None:
    _check_source(arguments)
    of_start = {"--new-dynamics": arguments.new_dynamics, "--train-tokenizer": arguments.train_tokenizer}
    if any(of_start.values()) and arguments.start is None:
        raise ValueError(f"{next(filter(of_start.get, of_start))} belongs to --start, a world whose tokenizer is there already")
    if arguments.layers is not None and arguments.layers < 1:
        raise ValueError(f"--layers is {arguments.layers}; give at least 1")
    if arguments.windows is not None and arguments.windows < 1:
        raise ValueError(f"--windows is {arguments.windows}; give at least 1")
    if not 0 < arguments.lr_scale < math.inf:
        raise ValueError(f"--lr-scale is {arguments.lr_scale}; give a positive number, such as 0.3 for a world that is trained on")
    if arguments.packing is not None and arguments.packing < 1:
        raise ValueError(f"--packing is {arguments.packing}; give 1, or a divisor of the patches along a side")
    if not 0 <= arguments.label_share <= 1:
        raise ValueError(f"--label-share is {arguments.label_share}; give a number from 0 to 1")
    if arguments.image_size < _PATCH or arguments.image_size % _PATCH:
        raise ValueError(f"--image-size is {arguments.image_size}; give a multiple of {_PATCH}, such as 64")
    if arguments.minutes is not None and not arguments.minutes > 0:
        raise ValueError(f"--minutes is {arguments.minutes}; give a positive number")
    if arguments.rate_hz is not None and not arguments.rate_hz > 0:
        raise ValueError(f"--rate-hz is {arguments.rate_hz}; give a positive number of frames per second")


def _check_source(arguments: Train) -> None:
    """What is trained on: recordings that are given, or what a simulator shows."""
    of_data = arguments.recipe in train_zoo.RECIPES
    of_simulators = of_data or arguments.recipe == "push"
    if arguments.recipe == "push" and arguments.source:
        raise ValueError("the recipe push films its own videos; leave the source away, or use --recipe folder")
    if of_data and (arguments.source or arguments.data is None):
        raise FileNotFoundError(f"the recipe {arguments.recipe} reads --data, a folder that `worldline collect` filmed, and nothing else")
    if arguments.policy != "mixture" and arguments.recipe != "push":
        raise ValueError("--policy belongs to the recipe push, which films its own videos")
    if arguments.act_hz is not None and arguments.recipe != "push":
        raise ValueError("--act-hz belongs to the recipe push, which films its own videos; recordings act as often as they have frames")
    if not of_data and (arguments.data or arguments.only or arguments.shares):
        raise ValueError("--data, --only and --shares belong to the recipes zoo and balls")
    if not of_simulators and arguments.steps:
        raise ValueError("--steps belongs to the recipes push, zoo and balls")
    if of_simulators and (arguments.mirror is not None or arguments.recolor):
        raise ValueError("--mirror and --recolor are of recordings; film more episodes of a simulator instead")
    if arguments.recolor < 0:
        raise ValueError(f"--recolor is {arguments.recolor}; give the number of copies, 0 for none")
    if not of_simulators and not arguments.source:
        raise FileNotFoundError("no videos given; name a folder of videos or a LeRobotDataset, or film a simulator with --recipe push")
    if arguments.recipe in ("droid", "cars") and len(arguments.source) != 1:
        raise ValueError(f"the recipe {arguments.recipe} takes one folder, got {len(arguments.source)}")


def _agreed(arguments: Train) -> dict[str, Any]:
    """What says which run this is, after a check that the folder holds no other one: a resumed run must be the same run."""
    fields = {name: value for name, value in asdict(arguments).items() if name not in _MAY_CHANGE}
    asked = json.loads(json.dumps(fields, default=lambda path: str(path.absolute())))
    path = arguments.out / _RECORD
    begun = read_json(path) if path.is_file() else asked
    begun = _SINCE | begun
    if arguments.rate_hz is None and begun["rate_hz"] == _USUAL_RATE_HZ:
        begun["rate_hz"] = None  # what stood there before a recipe had a default of its own
    # More or less time leaves what was trained as it is, unless a tokenizer is trained first, on whose latents everything rests.
    free = ("minutes",) if arguments.start is not None and not arguments.train_tokenizer else ()
    different = [
        f"{name} was {begun.get(name)} and is {value}" for name, value in asked.items() if begun.get(name) != value and name not in free
    ]
    if different:
        raise ValueError(f"{arguments.out} holds another run: {'; '.join(different)}. Repeat its arguments, or give another --out")
    return asked


def _held_out(values: tuple[str, ...]) -> float | tuple[str, ...]:
    """A fraction, if it is one number; names of sources otherwise."""
    try:
        return float(values[0]) if len(values) == 1 else values
    except ValueError:
        return values


def _rate_hz(arguments: Train) -> float:
    return _USUAL_RATE_HZ if arguments.rate_hz is None else arguments.rate_hz


def _rates_of_push(arguments: Train) -> dict[str, int]:
    """Simulator steps and actions per frame."""
    frames_hz = PUSHT_RATE_HZ / FRAME_SKIP if arguments.rate_hz is None else arguments.rate_hz
    acts_hz = frames_hz if arguments.act_hz is None else arguments.act_hz
    for name, rate, what in (("rate", frames_hz, "of Push-T it is"), ("act", acts_hz, "pushers act at")):
        if not rate > 0 or not _is_whole(PUSHT_RATE_HZ / rate):
            raise ValueError(f"--{name}-hz is {rate}; {what} {PUSHT_RATE_HZ:g} over a whole number, as 10, 5 or 2.5")
    if not _is_whole(acts_hz / frames_hz):
        raise ValueError(f"--act-hz is {acts_hz:g} where the world has {frames_hz:g} frames a second; give that or a whole multiple")
    return {"frame_skip": round(PUSHT_RATE_HZ / frames_hz), "acts_per_frame": round(acts_hz / frames_hz)}


def _is_whole(ratio: float) -> bool:
    return round(ratio) >= 1 and math.isclose(ratio, round(ratio), rel_tol=1e-3)


def _store(arguments: Train) -> EpisodeStore:
    folder_of_data, size = arguments.out / "data", arguments.image_size
    match arguments.recipe:
        case "push":
            workers, rates = max(1, arguments.num_workers), _rates_of_push(arguments)
            options = {"num_episodes": arguments.episodes, "num_frames": 40, "size": size, "num_workers": workers, **rates}
            return collect_push(folder_of_data, seed=arguments.seed + 1, policy=arguments.policy, **options)
        case "droid":
            return read_droid(arguments.source[0], folder_of_data, size=size)
        case "cars":
            return name_actions(read_cars(arguments.source[0], folder_of_data, size=size), ("steering", "throttle"))
        case "folder":
            source = SourceConfig(
                paths=arguments.source,
                image_size=size,
                rate_hz=_rate_hz(arguments),
                fit=arguments.fit,
                action_columns=arguments.action_columns,
                one_source_per_folder=arguments.held_out_folders,
            )
            return read_source(source, folder_of_data)
        case _:
            raise AssertionError(f"{arguments.recipe} has no single store")


def _recipe(arguments: Train, train: EpisodeStore, held_out: EpisodeStore) -> Recipe:
    minutes = arguments.minutes
    if arguments.recipe == "folder":
        skip = frame_skip_of(train, _rate_hz(arguments))
        longest = min(max(episode.num_frames for episode in side.episodes) for side in (train, held_out)) // skip
        recipe = folder(
            size=arguments.size or "tiny",
            image_size=arguments.image_size,
            frame_skip=skip,
            context_frames=min(_LONGEST_WINDOW, longest),
            minutes=_DEFAULT_MINUTES if minutes is None else minutes,
        )
        return train_zoo.as_asked(recipe, arguments)
    named = {"push": push, "droid": droid, "cars": cars}[arguments.recipe]
    first = 0.0 if minutes is None else min(minutes * _TOKENIZER_SHARE, _LONGEST_TOKENIZER_MINUTES.get(arguments.recipe, minutes))
    shares: dict[str, Any] = {}
    if arguments.steps is not None:
        shares = {"steps": arguments.steps}
    elif minutes is not None:
        shares = {"tokenizer_minutes": first, "dynamics_minutes": minutes - first}
    recipe = named(**shares)
    if arguments.steps is not None and minutes is not None:  # an end by the clock, however far the steps are
        kept = arguments.start is not None and not arguments.train_tokenizer
        tokenizer_seconds, rest = (None, minutes) if kept else (60 * first, minutes - first)
        recipe = replace(
            recipe,
            tokenizer_training=replace(recipe.tokenizer_training, duration_seconds=tokenizer_seconds),
            dynamics_training=replace(recipe.dynamics_training, duration_seconds=60 * rest),
        )
    tokenizer = replace(recipe.tokenizer, image_size=arguments.image_size, grid=arguments.image_size // _PATCH)
    return train_zoo.as_asked(replace(recipe, tokenizer=tokenizer, size=arguments.size or recipe.size), arguments)


def _text(arguments: Train, figures: dict[str, Any]) -> str:
    rollouts, held_out = figures["rollouts"], figures["held_out"]
    floors = {name: rollouts["floors"][name]["psnr_db"] for name in rollouts["floors"]}
    rows = []
    for index, (psnr, ssim, gain) in enumerate(
        zip(rollouts["world"]["psnr_db"], rollouts["world"]["ssim"], rollouts["gain_db"], strict=True)
    ):
        after = f"+{(index + 1) / rollouts['rate_hz']:.2f} s" if rollouts["rate_hz"] else f"frame {index + 1}"
        rows.append([after, f"{psnr:.2f}", *(f"{values[index]:.2f}" for values in floors.values()), f"{gain:+.2f}", f"{ssim:.3f}"])
    lines = [
        f"{figures['num_parameters']:,} parameters, trained on {figures['training']['num_frames']:,} frames. Measured on "
        f"{rollouts['num_windows']} windows of {held_out['num_sources']} held-out source(s) ({held_out['num_frames']:,} frames), "
        f"{rollouts['prompt_frames']} frames of prompt:",
        "",
        table(["after", "PSNR dB", *floors, "gain dB", "SSIM"], rows),
        "",
        f"mean gain over copying the last frame: {rollouts['mean_gain_db']:+.2f} dB "
        + interval_in_words(rollouts, "gain_interval_db", "+"),
    ]
    if rollouts["shuffled_action_ratio"] is not None:
        ratio = f"shuffled-action ratio: {rollouts['shuffled_action_ratio']:.2f} "
        lines.append(ratio + interval_in_words(rollouts, "shuffled_action_interval") + "; a world that ignores actions has 1")
    if "agent" in figures:
        agent = figures["agent"]
        frame = min(4, len(agent["distance_px"])) - 1
        distance = agent["distance_px"][frame]
        lines.append(
            f"agent at frame {frame + 1}: median {'not found' if distance is None else f'{distance:.1f} px'} from the true one "
            f"(copying the last frame: {agent['copy_last_px'][frame]:.1f} px, {agent['num_windows']} windows)"
        )
    if "block" in figures:
        block = figures["block"]
        px, deg = ("not found" if block[name][-1] is None else f"{block[name][-1]:.1f}" for name in ("distance_px", "angle_deg"))
        lines.append(
            f"block at frame {len(block['distance_px'])}: median {px} px and {deg} degrees from the true one "
            f"(copying: {block['copy_last_px'][-1]:.1f} px, {block['copy_last_deg'][-1]:.1f} degrees; it has moved in "
            f"{block['moved_share'][-1]:.0%} of {block['num_windows']} windows)"
        )
    if rollouts["mean_gain_db"] <= 0:
        lines.append("This world does not beat copying the last frame. Train longer, give it more videos, or lower --rate-hz.")
    return "\n".join([*lines, "", f"wrote {arguments.out / 'world'} and {arguments.out / 'figures.json'}"])
