"""`worldline predict`: see `cli.arguments.Predict`.

May import: eval, data, the other files of cli. Refuses to know: how a future is imagined.
"""

from worldline.cli.arguments import Predict
from worldline.cli.load import load_world
from worldline.cli.report import Report, check_output, table
from worldline.data import write_video
from worldline.eval.predict import Prediction, compose_panels, predict_video

_HOW_IT_FITS = {"stretch": "stretched", "crop": "its centre cut out", "pad": "with black bars"}


def run(arguments: Predict) -> Report:
    """Predict, write the film, and say how far off it is."""
    check_output(arguments.out, ".mp4")
    world = load_world(arguments.world, arguments.num_steps, domain=arguments.domain)
    prediction = predict_video(
        world,
        arguments.video,
        num_frames=arguments.frames,
        seconds=arguments.seconds,
        prompt_frames=arguments.prompt_frames,
        actions=arguments.actions,
        samples=arguments.samples,
        fit=arguments.fit,
        seed=arguments.seed,
    )
    write_video(arguments.out, compose_panels(prediction), rate_hz=prediction.rate_hz)
    return Report(
        figures={"video": str(arguments.video), "out": str(arguments.out), "seed": arguments.seed, **prediction.to_dict()},
        text=_text(arguments, prediction, has_actions=world.action_spec is not None),
    )


def _text(arguments: Predict, prediction: Prediction, *, has_actions: bool) -> str:
    height, width = prediction.source_size
    side, num_samples, num_frames = prediction.prompt.shape[-1], *prediction.imagined.shape[:2]
    fit = "" if height == width else f", {_HOW_IT_FITS[prediction.fit]} (--fit)"
    lines = [
        f"{arguments.video}: {width} x {height} pixels, seen by the world as {side} x {side}{fit}, {prediction.rate_hz:g} frames a second",
        f"prompt: {len(prediction.prompt)} frames; imagined: {num_samples} x {num_frames} frames, seed {arguments.seed}",
    ]
    if has_actions and not prediction.with_actions:
        lines.append("actions: unknown (give a CSV file with --actions to say what was done)")
    if prediction.psnr_db:
        pairs = zip(prediction.horizons_seconds, prediction.psnr_db, prediction.copy_last_psnr_db, strict=False)
        rows = [[f"+{seconds:.2f} s", f"{psnr:.2f}", f"{copy:.2f}", f"{psnr - copy:+.2f}"] for seconds, psnr, copy in pairs]
        lines += ["", table(["after", "PSNR dB", "copying the last frame", "gain dB"], rows)]
        lines.append("One video, so no interval: `worldline train` measures a world on many.")
    else:
        lines.append("The video ends with the prompt, so there is no truth to compare with; shorten the prompt with --prompt-frames.")
    return "\n".join([*lines, "", f"wrote {arguments.out}"])
