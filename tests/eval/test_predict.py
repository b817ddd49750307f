from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from worldline.data import LabelError, VideoError, read_video, to_float, write_video
from worldline.dynamics import DynamicsConfig, SamplerConfig
from worldline.eval import psnr
from worldline.eval.predict import compose_panels, predict_video
from worldline.interfaces import ActionSpec
from worldline.tokenizer import TokenizerConfig
from worldline.world import World, WorldConfig

RATE_HZ = 10.0
NUM_FRAMES = 40


def make_world(action_names: tuple[str, ...] = (), *, rate_hz: float | None = 5.0) -> World:
    """Random weights, none of them zero, so that everything matters; 32 px, looks back 8 frames."""
    torch.manual_seed(0)
    dim = len(action_names)
    config = WorldConfig(
        tokenizer=TokenizerConfig(image_size=32, grid=2, latent_dim=8, width=32, num_layers=1, head_dim=16, window=1),
        dynamics=DynamicsConfig(num_tokens=4, latent_dim=8, action_dim=dim, width=32, num_layers=2, head_dim=16, context_frames=8),
        sampler=SamplerConfig(num_steps=2),
        rate_hz=rate_hz,
        action_spec=ActionSpec(low=(-1.0,) * dim, high=(1.0,) * dim, names=action_names) if dim else None,
    )
    world = World(config)
    with torch.no_grad():
        for parameter in world.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return world


@pytest.fixture(scope="module")
def world() -> World:
    return make_world()


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four seconds at 10 Hz, 24 x 36 pixels: 20 frames for a world at 5 Hz."""
    path = tmp_path_factory.mktemp("video") / "square.mp4"
    frames = torch.full((NUM_FRAMES, 3, 24, 36), 0.3)
    for time in range(NUM_FRAMES):
        frames[time, :, 8:16, time % 28 : time % 28 + 8] = 1.0
    write_video(path, frames, RATE_HZ)
    return path


@pytest.fixture
def write_actions(tmp_path: Path) -> Callable[..., Path]:
    def write(rows: torch.Tensor, header: str = "steering") -> Path:
        path = tmp_path / "actions.csv"
        path.write_text("\n".join([header, *(",".join(map(str, row.tolist())) for row in rows)]))
        return path

    return write


@pytest.mark.parametrize(
    ("options", "lengths"),
    [
        ({}, (8, 10, 10)),  # the world looks back 8 frames, 2 s are 10
        ({"seconds": 1.0}, (8, 5, 5)),
        ({"num_frames": 3}, (8, 3, 3)),
        ({"num_frames": 15}, (10 - 2, 15, 12)),
        ({"prompt_frames": 2, "num_frames": 4}, (2, 4, 4)),
        ({"prompt_frames": 18, "num_frames": 4}, (18, 4, 2)),
        ({"prompt_frames": 20, "num_frames": 4}, (20, 4, 0)),
    ],
)
def test_how_much_is_shown_and_predicted(options: dict, lengths: tuple[int, int, int], world: World, video: Path) -> None:
    prediction = predict_video(world, video, **options)
    assert (len(prediction.prompt), prediction.imagined.shape[1], len(prediction.truth)) == lengths
    assert len(prediction.psnr_db) == len(prediction.copy_last_psnr_db) == lengths[2]
    assert len(prediction.horizons_seconds) == lengths[1]
    true = to_float(read_video(video, size=32, rate_hz=5.0).frames)
    assert torch.equal(torch.cat([prediction.prompt, prediction.truth]), true[: lengths[0] + lengths[2]])


def test_a_short_video_is_shared_between_prompt_and_truth(world: World, tmp_path: Path) -> None:
    path = tmp_path / "short.mp4"
    write_video(path, torch.rand(6, 3, 32, 32), 5.0)
    prediction = predict_video(world, path)
    assert (len(prediction.prompt), len(prediction.truth)) == (3, 3)


def test_the_errors_are_those_of_the_pictures(world: World, video: Path) -> None:
    prediction = predict_video(world, video, samples=3)
    error = (prediction.imagined - prediction.truth).square().mean((0, 2, 3, 4))
    torch.testing.assert_close(torch.tensor(prediction.psnr_db), -10 * error.log10())
    torch.testing.assert_close(
        torch.tensor(prediction.copy_last_psnr_db), psnr(prediction.prompt[-1:].expand_as(prediction.truth), prediction.truth)
    )
    assert prediction.horizons_seconds[0] == pytest.approx(0.2)
    assert prediction.source_size == (24, 36)


def test_samples_differ_and_a_seed_repeats_them(world: World, video: Path) -> None:
    first, again = (predict_video(world, video, samples=2, seed=5).imagined for _ in range(2))
    assert torch.equal(first, again)
    assert not torch.equal(first[0], first[1])
    assert not torch.equal(first, predict_video(world, video, samples=2, seed=6).imagined)


@torch.no_grad()
def test_the_future_is_the_worlds_own_rollout(video: Path, write_actions: Callable[..., Path]) -> None:
    """Against `World.rollout`, with the rows of the file that belong to the frames: every second one, at 5 of 10 Hz."""
    world = make_world(("steering",))
    rows = torch.linspace(-1, 1, NUM_FRAMES)[:, None].round(decimals=3)
    prediction = predict_video(world, video, num_frames=4, actions=write_actions(rows), seed=3)
    known = rows[::2]
    state = world.prompt(prediction.prompt, known[:7])
    noise = torch.randn(4, 1, *world.noise_shape, generator=torch.Generator().manual_seed(3))
    rollout = world.rollout(state, known[None, 7:11], noise=noise[None, None, :, 0])
    torch.testing.assert_close(prediction.imagined[0], world.decode(rollout)[0, 0], atol=1e-5, rtol=0)
    assert prediction.with_actions


def test_unknown_actions_are_the_null_action(video: Path, write_actions: Callable[..., Path]) -> None:
    world = make_world(("steering",))
    unknown = predict_video(world, video, num_frames=2)
    known = predict_video(world, video, num_frames=2, actions=write_actions(torch.zeros(NUM_FRAMES, 1)))
    assert not unknown.with_actions
    assert not torch.equal(unknown.imagined, known.imagined)


@pytest.mark.parametrize(
    ("row", "matters"),
    [(0, True), (1, True), (20, True), (21, True), (22, False), (39, False)],
)
def test_a_world_of_several_actions_per_frame_reads_all_of_them(
    row: int, matters: bool, video: Path, write_actions: Callable[..., Path]
) -> None:
    """8 frames of prompt and 4 to come take 11 actions of two rows each: rows 0 to 21."""
    world = make_world(("steering", "steering+1"))
    rows = torch.zeros(NUM_FRAMES, 1)
    before = predict_video(world, video, num_frames=4, actions=write_actions(rows)).imagined
    rows[row] = 1
    after = predict_video(world, video, num_frames=4, actions=write_actions(rows)).imagined
    assert torch.equal(before, after) != matters


def test_actions_may_go_on_after_the_video(video: Path, write_actions: Callable[..., Path]) -> None:
    world = make_world(("steering",))
    enough = write_actions(torch.zeros(NUM_FRAMES + 6, 1))  # 20 frames and 4 to come: the last action is that of frame 22, row 44
    assert predict_video(world, video, prompt_frames=20, num_frames=4, actions=enough).imagined.shape[1] == 4
    with pytest.raises(LabelError, match="40 rows; this prediction needs 45"):
        predict_video(world, video, prompt_frames=20, num_frames=4, actions=write_actions(torch.zeros(NUM_FRAMES, 1)))


def test_what_does_not_fit_is_refused(world: World, video: Path, write_actions: Callable[..., Path], tmp_path: Path) -> None:
    acting = make_world(("steering",))
    with pytest.raises(ValueError, match="without actions"):
        predict_video(world, video, actions=write_actions(torch.zeros(NUM_FRAMES, 1)))
    with pytest.raises(LabelError, match="no column steering"):
        predict_video(acting, video, actions=write_actions(torch.zeros(NUM_FRAMES, 1), header="speed"))
    with pytest.raises(ValueError, match="not enough for a prompt of 30"):
        predict_video(world, video, prompt_frames=30)
    with pytest.raises(ValueError, match="one of the two"):
        predict_video(world, video, num_frames=3, seconds=1.0)
    with pytest.raises(VideoError, match="no such file"):
        predict_video(world, tmp_path / "missing.mp4")


@pytest.mark.parametrize("wrong", [{"num_frames": 0}, {"seconds": 0.01}, {"samples": 0}, {"prompt_frames": 0}])
def test_numbers_that_make_no_sense_are_refused(wrong: dict, world: World, video: Path) -> None:
    with pytest.raises(ValueError, match="at least"):
        predict_video(world, video, **wrong)


def test_a_world_of_mixed_rates_reads_a_video_at_its_own(video: Path) -> None:
    prediction = predict_video(make_world(rate_hz=None), video, seconds=0.5)
    assert prediction.rate_hz == RATE_HZ
    assert prediction.imagined.shape[1] == 5


def test_the_film_shows_truth_futures_and_error(world: World, video: Path) -> None:
    prediction = predict_video(world, video, prompt_frames=18, num_frames=4, samples=2)
    film = compose_panels(prediction)
    assert film.shape == (22, 3, 22 + 192, 4 * 192 + 3 * 4)
    truth, first, second, error = (film[:, :, 22::6, left : left + 192 : 6] for left in range(0, 784, 196))
    torch.testing.assert_close(truth[:20], torch.cat([prediction.prompt, prediction.truth]))
    torch.testing.assert_close(first, torch.cat([prediction.prompt, prediction.imagined[0]]))
    torch.testing.assert_close(second[18:], prediction.imagined[1])
    torch.testing.assert_close(error[18:20], (prediction.imagined[0, :2] - prediction.truth).abs())
    assert (error[:18] == 0).all()
    assert (truth[20:] == 0.5).all()  # the video ended: grey, not a made-up truth
    assert (error[20:] == 0.5).all()
