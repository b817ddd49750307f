"""What `worldline eval` takes, and the help that teaches it.

Light on purpose, as `cli.arguments` is. May import: tyro. Refuses to know: all other rooms.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tyro.conf import FlagCreatePairsOff, Positional

Json = FlagCreatePairsOff[bool]

# The names of `worldline.eval.suites.control`, repeated because importing it takes seconds; a test compares.
Environment = Literal["push", "pusht", "two_room", "reacher", "ball_in_cup", "cube", "fetch_push", "painting"]
Planner = Literal[
    "random",
    "cem",
    "mppi",
    "icem",
    "adam",
    "grasp",
    "soft_tree",
    "soft_tree_sampled",
    "inverse",
    "clone",
    "inverse+cem",
    "flow",
    "flow+cem",
    "flow+mppi",
]


@dataclass(frozen=True, kw_only=True, slots=True)
class Eval:
    """Measure a world: four suites of figures, each with its floors, intervals over episodes, seeds, and the command that repeats it.

    video: how good the pictures are, 1 to 64 frames ahead. honesty: actions heeded, batches, seeds, drift, steps, spread, long rollouts.
    physics: ground truth in the latents, occluders, balls after PhyWorld. in-context: whether a longer prompt helps where physics differs.
    What the data lacks is listed as not measured, and why. control, when asked for: plans in the world, acts in the simulator, from a start
    to a goal picture; success beside its floors, realised beside predicted cost. It takes no data, keeps its attempts in OUT/control, and
    goes on where it was; the same command in several processes at once shares the work.

    Example: worldline eval runs/push (a run of `worldline train`: on what it held out)

    Example: worldline eval runs/zoo --domain push --suite video physics --out eval/push (a run of `worldline train zoo`)

    Example: worldline eval tiny --data data/zoo/push/validation data/zoo/push/ood

    Example: worldline eval runs/push --suite control --environments pusht --planners cem mppi --budgets 1000 4000 --pairs 20

    Example: worldline eval push --suite control --environments pusht --planners flow --lessons 4000 --policy-updates 6000

    Example: worldline eval simulator --suite control --environments reacher --budgets 16000 (plans in the true simulator: no model error)

    Writes: OUT/index.html, with its videos inside, OUT/figures.json and OUT/videos.

    Attributes:
        world: a folder that `worldline train` wrote, a hub repository as owner/name, or the name of a bundled world; for the suite control
            also "simulator".
        data: stores or LeRobotDatasets that the world was not trained on; what its run held out if not given.
        domain: of a world of several domains, which one is measured; that of the data if not given.
        suite: which suites; all but control if not given.
        probe_data: what linear probes are fitted on; what the run was trained on if neither is given, else other measured episodes.
        out: folder of what is written.
        sources: only episodes of these sources.
        episodes: at most as many are read.
        windows: windows per figure, spread over the episodes.
        prompt_frames: frames that the world is shown.
        seeds: noise seeds per figure.
        samples: futures per window where their spread is measured.
        long_rollouts: rollouts of 128 frames.
        num_steps: denoising steps per frame, a power of two; the world's own if not given.
        batch_size: rows imagined at once; changes memory and time, not the figures.
        state_names: names of the components of the states, where the data does not say: NAME_x, NAME_angle, NAME_velocity_x ...
        environments: of the suite control.
        planners: of the suite control; soft_tree goes up gradients where there are any, soft_tree_sampled does not; inverse and clone are
            policies regressed on training episodes, inverse+cem searches from there; flow draws whole plans as training
            episodes show them and takes the best in imagination, flow+cem and flow+mppi search on from it.
        lessons: training episodes that those policies are regressed on, filmed in the simulator; flow wants thousands.
        lessons_from: store of recordings that they are regressed on in place of these, such as RUN/data of a training run.
        policy_updates: of their regression; flow wants thousands.
        budgets: frame evaluations per decision, of the suite control: candidates x frames x denoising steps.
        protocols: strict pairs are not solved at the start, nor by standing still, nor by random actions; moderate ones not at the start.
        offsets: simulator frames from start to goal; an attempt may take twice as many.
        pairs: starts and goals per environment, protocol and offset, each tried with every seed.
        horizon: frames of the world per plan; the offset, within 4 and 12, if not given.
        execute: frames of each plan that are done; a third of the horizon if not given.
        in_simulator: plan in the true simulator, at the world's rate, in place of the world.
        together: attempts of the suite control whose plans are made in one batch, if the planner can; a GPU wants 50 and more. Figures stay
            as they are, up to rounding.
        device: cpu or cuda.
        seed: of the windows, and the first of the noise.
        json: print the figures as one JSON object.
    """

    world: Positional[str]
    data: tuple[Path, ...] = ()
    domain: str | None = None
    suite: tuple[Literal["video", "honesty", "physics", "in-context", "control"], ...] = ()
    probe_data: tuple[Path, ...] = ()
    out: Path = Path("eval")
    sources: tuple[str, ...] = ()
    episodes: int = 200
    windows: int = 64
    prompt_frames: int = 4
    seeds: int = 3
    samples: int = 8
    long_rollouts: int = 100
    num_steps: int | None = None
    batch_size: int = 32
    state_names: tuple[str, ...] = ()
    environments: tuple[Environment, ...] = ("push",)
    planners: tuple[Planner, ...] = ("cem",)
    budgets: tuple[int, ...] = (1000,)
    protocols: tuple[Literal["moderate", "strict"], ...] = ("strict",)
    offsets: tuple[int, ...] = (25,)
    pairs: int = 5
    lessons: int = 60
    lessons_from: Path | None = None
    policy_updates: int = 1500
    horizon: int | None = None
    execute: int | None = None
    in_simulator: FlagCreatePairsOff[bool] = False
    together: int = 1
    device: Literal["cpu", "cuda"] = "cpu"
    seed: int = 0
    json: Json = False
