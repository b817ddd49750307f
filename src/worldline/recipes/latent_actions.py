"""A world of latent actions, learnt from video without a label, and steered by real actions through a controller that a few labels suffice
for. Beside it stands `Recipe.label_share`, which hides the labels of the same share from the usual training.

May import: recipes.recipe, recipes.corpus, data, dynamics, world, train. Refuses to know: where the videos come from, figures.

Shapes: B batch, T frames, S tokens, C channels, A real action, D latent action.
"""

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from worldline.data import EpisodeStore, LatentStore, Loader, to_float
from worldline.dynamics import Dynamics, ShortcutObjective
from worldline.dynamics.latent_action import ActionController, LatentActionConfig, LatentActionObjective, LatentActions
from worldline.interfaces import ActionSpec, Rollout, State
from worldline.recipes.corpus import Corpus
from worldline.recipes.recipe import Recipe, encode_store, metric_of, raise_if_interrupted, train_tokenizer, world_config
from worldline.train import train
from worldline.world import World

_CONTROLLER_BATCH, _CONTROLLER_RATE = 256, 1e-3


def train_latent_world(
    recipe: Recipe,
    corpus: Corpus[EpisodeStore],
    folder: Path | str,
    *,
    dim: int = 8,
    kl_weight: float = 1e-3,
    num_workers: int = 1,
    seed: int = 0,
) -> tuple[World, LatentActions, LatentStore]:
    """Train a world whose actions are latent, on the frames of one store alone; its labels are not looked at.

    Tokenizer and latents are those of `train_world` with the same recipe: a folder of a finished one may be given, whose dynamics stay
    where they are.

    Returns:
        The world, whose actions are the latent ones in [-1, 1]; the inverse model; and the latents that it was trained on.

    Raises:
        TrainingInterruptedError: after SIGTERM or Ctrl-C; nothing is lost.
        ValueError: for several stores.
    """
    if len(corpus.stores) != 1:
        raise ValueError(f"latent actions are learnt from one store at a time, got {', '.join(corpus.stores)}")
    ((name, store),) = corpus.stores.items()
    frame_skip = corpus.frame_skips[name]
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer, _ = train_tokenizer(recipe, corpus, folder, num_workers, seed)
    latents = encode_store(tokenizer, store, folder / "latents")
    shape = LatentActionConfig(num_tokens=recipe.tokenizer.num_tokens, latent_dim=recipe.tokenizer.latent_dim, dim=dim, kl_weight=kl_weight)
    torch.manual_seed(seed)
    config = world_config(recipe, corpus)
    config = replace(config, dynamics=replace(config.dynamics, action_dim=dim), action_spec=shape.spec, action_spaces={})
    dynamics, actions = Dynamics(config.dynamics), LatentActions(shape)
    metric = metric_of(recipe, tokenizer, Corpus.of(latents, frame_skip), seed)
    objective = LatentActionObjective(actions, ShortcutObjective(dynamics, recipe.shortcut, shape.spec, metric=metric))
    batch_size, num_frames = recipe.dynamics_batch
    loader = Loader(latents, batch_size=batch_size, num_frames=num_frames, frame_skip=frame_skip, seed=seed, num_workers=num_workers)
    training = replace(recipe.dynamics_training, loss_weights={})
    raise_if_interrupted(train(objective, loader, training, folder / "latent_dynamics"))
    return World(config, tokenizer, dynamics), actions, latents


def fit_controller(
    actions: LatentActions, latents: LatentStore, frame_skip: int, *, steps: int = 2000, num_frames: int = 4, seed: int = 0
) -> ActionController:
    """A controller from the episodes of `latents` that have labels; its squared error is that against the inverse model's mean.

    The inverse model and the world stay as they are, so this may be done for any number of labels, at any time.

    Raises:
        ValueError: if no episode has labels.
    """
    labelled = [episode for episode in latents.episodes if "actions" in episode.labels]
    if not labelled or latents.action_spec is None:
        raise ValueError("no episode has action labels; a controller needs one at least")
    few = type(latents)(latents.folder, labelled, latents.arrays, latents.action_spec, latents.fingerprint)
    rows = max(1, _CONTROLLER_BATCH // (num_frames - 1))
    loader = Loader(few, batch_size=rows, num_frames=num_frames, frame_skip=frame_skip, seed=seed)
    spec = loader.action_spec
    assert spec is not None
    device = actions.position.device
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        controller = ActionController(actions.config, spec.dim).to(device)
    optimizer = torch.optim.AdamW(controller.parameters(), lr=_CONTROLLER_RATE, weight_decay=0.05)
    for step in range(steps):
        batch = loader.batch(step)
        assert batch.latents is not None
        assert batch.actions is not None
        seen = batch.latents.to(device)
        with torch.no_grad():
            wanted = actions.read(seen).flatten(0, 1)
        done = spec.normalize(batch.actions[:, :-1]).flatten(0, 1).to(device)
        error = (controller(seen[:, :-1].flatten(0, 1), done) - wanted).square().mean()
        for group in optimizer.param_groups:
            group["lr"] = _CONTROLLER_RATE * (1 - step / steps)
        optimizer.zero_grad()
        error.backward()
        optimizer.step()
    return controller.eval()


class ControlledWorld(nn.Module):
    """A world of latent actions as one of real actions, as far as `evaluate_rollouts` and planners ask: each real action is turned into a
    latent one in the frame where it is done. What was done in the prompt is read off the prompt.
    """

    def __init__(self, world: World, actions: LatentActions, controller: ActionController, action_spec: ActionSpec) -> None:
        super().__init__()
        self.world = world
        self.actions = actions
        self.controller = controller
        self.action_spec = action_spec
        self.config = world.config

    @property
    def noise_shape(self) -> tuple[int, int]:
        """See `World.noise_shape`."""
        return self.world.noise_shape

    def prompt(self, video: Tensor, actions: Tensor | None = None) -> State:
        """The state after a video (B, T, 3, H, W) or (T, 3, H, W); actions in it are not needed."""
        frames = video if video.is_floating_point() else to_float(video)
        frames = frames.to(self.world.tokenizer.encoder_position)
        frames = frames if frames.ndim == 5 else frames[None]
        latents = self.world.tokenizer.encode(frames)
        return self.world.prompt(frames, self.actions.read(latents) if latents.shape[1] > 1 else None)

    def step(self, state: State, action: Tensor | None, *, noise: Tensor | None = None, seed: int | None = None) -> State:
        """See `World.step`."""
        if action is None:
            return self.world.step(state, None, noise=noise, seed=seed)
        known = self.action_spec.normalize(action.to(state.latent))
        return self.world.step(state, self.controller(state.latent, known), noise=noise, seed=seed)

    def rollout(self, state: State, actions: Tensor, *, samples: int = 1, noise: Tensor | None = None, seed: int | None = None) -> Rollout:
        """See `World.rollout`; one sample.

        Raises:
            ValueError: for more samples, or noise: this world is for measuring.
        """
        if samples != 1 or noise is not None:
            raise ValueError("a controlled world draws one future, from a seed")
        current = self.world.fork(state, len(actions)) if state.batch_size == 1 else state
        latents = []
        for action in actions.unbind(1):
            current = self.step(current, action, seed=seed)
            latents.append(current.latent)
        return Rollout(latents=torch.stack(latents, dim=1)[None], actions=actions, state=current)

    def decode(self, source: State | Rollout | Tensor) -> Tensor:
        """See `World.decode`."""
        return self.world.decode(source)
