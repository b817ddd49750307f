"""What `worldline train` takes, and the help that teaches it.

Light on purpose, as `cli.arguments` is. May import: tyro. Refuses to know: all other rooms.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from tyro.conf import FlagCreatePairsOff, Positional

# The names of `worldline.data.Fit` and `worldline.dynamics.Size`, repeated because importing them takes seconds; a test compares.
Fit = Literal["stretch", "crop", "pad"]
Size = Literal["nano", "tiny", "small", "base", "large"]
Policy = Literal["mixture", "broad", "deft"]  # of `worldline.envs.pusht.PolicyName`
Json = FlagCreatePairsOff[bool]


@dataclass(frozen=True, kw_only=True, slots=True)
class Train:
    """Train a world on your own videos, or on a built-in recipe.

    A source is a folder of videos (mp4, mkv, avi, webm, mov; searched with its sub-folders) or a LeRobotDataset (a folder with
    meta/info.json). A CSV file beside a video, with its name, a header and one row per frame, labels it with actions. Some sources are held
    out; the world is measured on them when it is done, beside what copying the last frame would do. Ctrl-C and SIGTERM save; the same
    command goes on where it was, and a finished run prints its figures at once.

    Example: worldline train my_videos --out runs/mine --size tiny --minutes 60

    Example: worldline train drives --action-columns steering throttle --rate-hz 4 --held-out site_3 --held-out-folders

    Example: worldline train push --out runs/push (no source: the simulator is filmed)

    Example: worldline train zoo --data data/zoo --size tiny --out runs/zoo (one world of all that `worldline collect zoo` filmed)

    Example: worldline train zoo --data data/zoo --only push --steps 8000 20000 --out runs/only_push (a specialist of as many FLOPs)

    Example: worldline train my_videos --start tiny --out runs/mine --minutes 20 (go on from a trained world: fewer videos and minutes do)

    Writes: OUT/world (for --world of the other commands), OUT/figures.json, samples while it trains, checkpoints.

    Attributes:
        source: folders of videos, or of one LeRobotDataset each; or the name of a recipe.
        out: folder of the run.
        recipe: folder trains on any videos; push films Push-T; droid and cars expect their data sets' own layout; zoo and balls read what
            `worldline collect` filmed, from --data.
        data: of zoo: the folder of the domains, DOMAIN/train, DOMAIN/validation and DOMAIN/ood; of balls: the same, or the domain's own.
        only: of zoo, only these domains.
        shares: of zoo, how often a domain is drawn, relative to the others, as in --shares cloth 3 push 3; 1 where none is given.
        start: a trained world to go on from: a folder of a run, a hub repository as owner/name, or the name of a bundled world. Its
            tokenizer stays as it is, its dynamics are trained further, and its size and image size are taken. Actions that it knows by
            the names of domain and components keep their meaning.
        new_dynamics: with --start, keep the tokenizer alone; the dynamics begin anew, of --size and --packing.
        train_tokenizer: with --start, train its tokenizer on as well, for frames unlike those that it knows; the dynamics then follow it.
        size: of the network: nano 1M parameters, tiny 6M, small 30M, base 150M, large 1B.
        layers: blocks of that network; the size's own, or those of the world to start from, if not given. With --start give more than it
            has to make it deeper: the further ones have no effect until they are trained, so nothing is lost, and a frame costs more.
        packing: patches along a side of a token of the dynamics. With 2 these have a quarter of the tokens: about twice the frames in the
            same time, in training and in planning.
        minutes: training time; each recipe has its own default. A run with --start that keeps its tokenizer may be given more or less when
            it is resumed; with less it ends soon, at rates that fall in time.
        steps: of push, zoo and balls: optimiser steps of the tokenizer and of the dynamics, in place of the recipe's own. With --minutes as
            well, the training ends at whichever comes first.
        windows: videos that each optimiser step of the dynamics sees; the recipe's own, made for a processor, if not given. A GPU wants 100
            and more.
        lr_scale: learning rates, as a factor of the recipe's own; with --start, less than 1 changes a trained world more gently.
        label_share: share of the training episodes that keep their action labels; of the rest they are unknown.
        infer_labels: where only some episodes have action labels, infer the others' from the frames, if those teach how; otherwise, and
            with --no-infer-labels, the others are trained on as video without actions.
        held_out: the sources to keep for measuring, by name, or one fraction of them.
        held_out_folders: hold out whole sub-folders rather than single videos; stricter where a folder is one scene.
        rate_hz: frames per second of the world; at a low rate more happens from frame to frame. 5 if not given, and of push 2.5, there
            10 over a whole number. Simulated domains of zoo have rates of their own.
        act_hz: of push, how often the pushers act, and what plans in the world may ask for: a whole multiple of the frames' rate, so many
            actions side by side in each. As often as there are frames if not given.
        image_size: side of the world's square frames, pixels, a multiple of 16.
        fit: how frames of another aspect ratio are made square.
        action_columns: columns of the CSV files that make up an action.
        mirror: train on the mirror image of every training video as well; name the action columns that change their sign in it, as in
            --mirror steering. For few recordings of a scene that has no left and right of its own.
        recolor: train on so many copies of every training video as well, in other colours and another light. For recordings of few places.
        episodes: episodes to film, for the recipe push.
        policy: of these; mixture pushes carefully, broad also tries what a planner would: for worlds that are planned in;
            deft also puts the block in one place after another, with corrections: for policies that are to reach goals.
        num_workers: threads that prepare batches, and processes that film where a recipe films.
        seed: of the weights, the order of the data and the held-out sources.
        json: print the figures as one JSON object.
    """

    source: Positional[tuple[Path, ...]] = ()
    out: Path
    recipe: Literal["folder", "push", "droid", "cars", "zoo", "balls"] = "folder"
    data: Path | None = None
    only: tuple[str, ...] = ()
    shares: dict[str, float] = field(default_factory=dict)
    start: str | None = None
    new_dynamics: FlagCreatePairsOff[bool] = False
    train_tokenizer: FlagCreatePairsOff[bool] = False
    size: Size | None = None
    layers: int | None = None
    packing: int | None = None
    minutes: float | None = None
    steps: tuple[int, int] | None = None
    windows: int | None = None
    lr_scale: float = 1.0
    label_share: float = 1.0
    infer_labels: bool = True
    held_out: tuple[str, ...] = ("0.1",)
    held_out_folders: FlagCreatePairsOff[bool] = False
    rate_hz: float | None = None
    act_hz: float | None = None
    image_size: int = 64
    fit: Fit = "stretch"
    action_columns: tuple[str, ...] = ()
    mirror: tuple[str, ...] | None = None
    recolor: int = 0
    episodes: int = 500
    policy: Policy = "mixture"
    num_workers: int = 1
    seed: int = 0
    json: Json = False
