"""What each command takes, and the help that teaches it.

Light on purpose: `worldline --help` must not wait for the rooms that do the work. May import: tyro. Refuses to know: all other rooms.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import FlagCreatePairsOff, Positional, subcommand

from worldline.cli.eval_arguments import Eval
from worldline.cli.ingest_arguments import Ingest
from worldline.cli.train_arguments import Fit, Json, Size, Train


@dataclass(frozen=True, kw_only=True, slots=True)
class Demo:
    """The whole path once, from nothing: film a simulator, train a small world, look at it.

    Collects video of Push-T, trains a nano world from scratch, prompts it with episodes it never saw, plans in it, and writes a page with
    every figure and its floor. Run it again to measure again without training again.

    Example: worldline demo --out demo --video my.mp4

    Writes: OUT/index.html, the videos beside it, OUT/figures.json and the world.

    Attributes:
        out: folder for all that is written.
        video: a video of your own, which the world is shown as well (it has only ever seen Push-T, so expect little).
        minutes: training time.
        seed: of all randomness.
        json: print the figures as one JSON object.
    """

    out: Path = Path("demo")
    video: Path | None = None
    minutes: float = 7.0
    seed: int = 0
    json: Json = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Predict:
    """Show a world the start of a video; see how it thinks that it goes on.

    Example: worldline predict my.mp4 --world runs/mine --out future.mp4 --seconds 2 --samples 3

    Writes: OUT, a video of what is true, each imagined future and the error, side by side. Prints the error of each frame beside that of
    copying the last one, where the video knows how it goes on.

    Attributes:
        video: a file.
        world: a folder that `worldline train` wrote, a hub repository as owner/name, or the name of a bundled world.
        out: the MP4 file to write.
        seconds: how far to predict; 2 if neither this nor frames is given.
        frames: the same in frames.
        prompt_frames: frames that the world is shown, from the start of the video.
        actions: CSV file with a header and one row of actions per frame of the video; unknown if not given.
        domain: of a world of several domains: whose actions and frame rate it takes.
        samples: futures to imagine.
        fit: how frames of another aspect ratio are made square.
        num_steps: denoising steps per frame, a power of two: 1 is quick; the world's own if not given.
        seed: of the futures.
        json: print the figures as one JSON object.
    """

    video: Positional[Path]
    world: str
    out: Path = Path("future.mp4")
    seconds: float | None = None
    frames: int | None = None
    prompt_frames: int | None = None
    actions: Path | None = None
    domain: str | None = None
    samples: int = 1
    fit: Fit = "stretch"
    num_steps: int | None = None
    seed: int = 0
    json: Json = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """Plan in a world of Push-T, act in the real simulator, and see whether the goal comes nearer.

    Of a world of several domains it takes the one called push.

    Example: worldline plan --world demo --out plan.mp4 --episodes 5

    Writes: OUT, a video of what really happened, what the world expected and the goal, side by side, one episode after another. Prints the
    distance to the goal at the start and at the end, beside that of a random policy.

    Attributes:
        world: a folder that `worldline train` wrote, a hub repository as owner/name, or the name of a bundled world.
        out: the MP4 file to write.
        goal: a picture of Push-T, or a video whose last frame counts; by default the scene with the agent sent elsewhere.
        planner: cem refines its guesses, mppi averages them, random keeps the best of many.
        horizon: frames that a plan looks ahead.
        candidates: futures imagined per iteration.
        iterations: refinements per plan, of cem and mppi.
        steps: actions per episode.
        replan_every: actions that are done before planning again.
        num_steps: denoising steps per imagined frame; 1 is quick.
        episodes: scenes to plan in.
        seed: of the first scene; the others follow.
        json: print the figures as one JSON object.
    """

    world: str
    out: Path = Path("plan.mp4")
    goal: Path | None = None
    planner: Literal["cem", "mppi", "random"] = "cem"
    horizon: int = 6
    candidates: int = 128
    iterations: int = 4
    steps: int = 16
    replan_every: int = 2
    num_steps: int = 1
    episodes: int = 1
    seed: int = 0
    json: Json = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Code:
    """Give a world a code of frames: one vector per frame, learned without labels, that says where things lie and how they are turned.

    Trained by contrast on the latents that `worldline train` left in the run: a frame has to find the one that comes some seconds later
    among those of other episodes. `worldline eval RUN --suite physics` then probes it beside the latents; `reward.GoalCode` makes an
    objective of it. Ctrl-C and SIGTERM save; the same command goes on where it was.

    Example: worldline code runs/push

    Example: worldline code runs/push runs/push_5hz --steps 8000 (on the recordings of both; their worlds have one tokenizer)

    Writes: OUT, RUN/world/frame_code.safetensors of the first run if not given; checkpoints in RUN/frame_code of that run.

    Attributes:
        runs: folders that `worldline train` wrote.
        out: the file to write.
        steps: optimiser steps; about half a second each on one core.
        near_seconds: least and most time between two frames of an episode that are to be near. What moves within the least is not asked
            for, and what stays longer than the most is what counts.
        half: round weights to float16, which halves the file.
        num_workers: threads that prepare batches.
        seed: of weights, order and what is held out.
        json: print the figures as one JSON object.
    """

    runs: Positional[tuple[Path, ...]]
    out: Path | None = None
    steps: int = 5000
    near_seconds: tuple[float, float] = (0.8, 4.8)
    half: FlagCreatePairsOff[bool] = False
    num_workers: int = 1
    seed: int = 0
    json: Json = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Bench:
    """Measure how fast a world steps or trains on this machine, or how fast a data set is read. Close everything else first.

    Example: OMP_NUM_THREADS=1 worldline bench step --size tiny

    Example: worldline bench plan --size tiny --budget 4096

    Example: worldline bench train --size tiny --device cuda

    Example: worldline bench data my_dataset

    Writes: nothing; prints the figures.

    Attributes:
        what: step: frames per second of imagination; plan: one decision of a planner, as a share of that; train: whole training steps, as a
            share of the matrix peak; data: random clips of a data set, decoded, loaded, and as cached latents.
        dataset: of bench data: a LeRobotDataset, or a folder of videos.
        size: of the network.
        budget: of one decision of bench plan, in frame evaluations.
        dtype: of the world's weights in bench plan; bench step lists both.
        frames: per clip, of bench data.
        image_size: side of the square frames of bench data, pixels; the files' own if not given.
        device: of bench step and bench train: cpu or cuda. On a GPU also CUDA graphs, torch.compile, and what the time goes to.
        batch: of bench train: windows per step; 32 if not given, on a GPU 256.
        compile: of bench train: modes of torch.compile that are timed as well; on a GPU "default" if not given, else none.
        json: print the figures as one JSON object.
    """

    what: Positional[Literal["step", "plan", "train", "data"]]
    dataset: Positional[Path | None] = None
    size: Size = "tiny"
    budget: int = 4096
    dtype: Literal["float32", "bfloat16"] = "float32"
    frames: int = 16
    image_size: int | None = None
    device: Literal["cpu", "cuda"] = "cpu"
    batch: int | None = None
    compile: tuple[Literal["default", "reduce-overhead", "max-autotune"], ...] | None = None
    json: Json = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Doctor:
    """Look at this machine: is everything here that worldline needs, and how fast is it?

    Example: worldline doctor

    Writes: nothing that stays. Exits with 1 if something that is needed is broken.

    Attributes:
        folder: where you mean to write; its space and permissions are checked.
        json: print the findings as one JSON object.
    """

    folder: Path = Path(".")
    json: Json = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Collect:
    """Film a simulated domain into a data set, or the whole zoo of them.

    A domain gives video, actions, ground-truth states, event labels, captions, and the attributes (colours, frictions ...) of each episode.
    The same command goes on where it was broken off. Episodes that crash or hang are tried again, then left out and counted.

    Example: worldline collect push --episodes 200 --out data/push

    Example: worldline collect zoo --out data/zoo (per domain 1,000 training, 100 validation and 100 out-of-distribution episodes, 64 and
    128 px) or, to try it, worldline collect zoo --domains push reacher --episodes 20 --out data/small_zoo

    Writes: OUT, a LeRobotDataset (for several sizes OUT/64px ...; for the zoo OUT/DOMAIN/SPLIT/64px ...), and sheet.png beside its data, to
    look at.

    Attributes:
        domain: its name, or zoo; `worldline collect list` lists them.
        out: folder of what is filmed.
        policy: one of the domain's, or mixture: mostly its most interesting one.
        episodes: to film; of the zoo, training episodes per domain, with a tenth for each other split.
        frames: frames of each.
        size: sides of the square pictures, in pixels; 64 if not given, 64 128 for the zoo.
        seed: number of the first episode; other numbers are other episodes.
        split: train, validation, or ood: out of distribution, with unusual attributes.
        unusual: with --split ood, only these attributes are unusual, as in --unusual radius_m speed_m_s; all if not given.
        domains: of the zoo, only these.
        num_workers: processes; one per core if not given.
        json: print the figures as one JSON object.
    """

    domain: Positional[str]
    out: Path | None = None
    policy: str = "mixture"
    episodes: int = 1000
    frames: int = 64
    size: tuple[int, ...] = ()
    seed: int = 0
    split: Literal["train", "validation", "ood"] = "train"
    unusual: tuple[str, ...] = ()
    domains: tuple[str, ...] = ()
    num_workers: int | None = None
    json: Json = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Data:
    """Look at a data set before training on it: a LeRobotDataset, a folder of videos, or a store.

    show: episodes, frames, hours, rates, sizes, tasks, actions, sources, disk; from tables and headers, without decoding.
    sheet: a picture with a row of frames per episode.
    stats: ranges of the actions, and warnings: components that are constant, missing or NaN, and actions that do not belong to the frames
    beside them. An action should lead to the next frame: lag 0. At lag +2 the picture answers two frames late, at -2 two frames early.

    Example: worldline data show my_dataset

    Example: worldline data sheet my_dataset --out sheet.png

    Example: worldline data stats my_dataset

    Writes: OUT, for sheet.

    Attributes:
        what: show, sheet or stats.
        dataset: its folder.
        out: of sheet: the PNG file to write; sheet.png if not given.
        num_clips: of sheet: rows.
        every: of sheet: only every n-th episode.
        image_size: of sheet: side of the frames as they are read, pixels; their own if not given.
        camera: which video feature of a LeRobotDataset; the first with files if not given.
        action_columns: columns of the CSV files beside the videos of a folder; all that hold numbers if not given.
        latency_frames: of stats: known latency of camera and motors, which then counts as aligned.
        max_frames: of stats: how much video the actions are compared with.
        json: print the figures as one JSON object.
    """

    what: Positional[Literal["show", "sheet", "stats"]]
    dataset: Positional[Path]
    out: Path | None = None
    num_clips: int = 12
    every: int = 1
    image_size: int | None = None
    camera: str | None = None
    action_columns: tuple[str, ...] = ()
    latency_frames: int = 0
    max_frames: int = 20_000
    json: Json = False


AnyCommand = (
    Annotated[Demo, subcommand("demo", description="The whole path once: film a simulator, train a small world, look at it.")]
    | Annotated[Train, subcommand("train", description="Train a world on your own videos, or on a built-in recipe.")]
    | Annotated[Predict, subcommand("predict", description="Show a world the start of a video; see how it thinks that it goes on.")]
    | Annotated[Eval, subcommand("eval", description="Measure a world: figures with floors, intervals, seeds and honesty checks.")]
    | Annotated[Plan, subcommand("plan", description="Plan in a world of Push-T and act in the real simulator.")]
    | Annotated[Collect, subcommand("collect", description="Film simulated domains into data sets.")]
    | Annotated[Ingest, subcommand("ingest", description="Make clean, trainable data sets out of any pile of video.")]
    | Annotated[Data, subcommand("data", description="Look at a data set: what is in it, how it looks, whether its actions fit.")]
    | Annotated[Code, subcommand("code", description="Give a world a code of frames, learned without labels.")]
    | Annotated[Bench, subcommand("bench", description="Measure how fast a world steps or trains on this machine.")]
    | Annotated[Doctor, subcommand("doctor", description="Look at this machine: is everything here that worldline needs?")]
)
"""What the help of all commands lists; each one's own help says the rest."""
