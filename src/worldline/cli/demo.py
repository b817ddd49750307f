"""`worldline demo`: see `cli.arguments.Demo`.

May import: recipes, the other files of cli. Refuses to know: what the demo does.
"""

from worldline.cli.arguments import Demo
from worldline.cli.report import Report, interrupted
from worldline.recipes import TrainingInterruptedError
from worldline.recipes.demo import DemoConfig, run_demo


def run(arguments: Demo) -> Report:
    """Run the demo, and say where its page is."""
    try:
        result = run_demo(DemoConfig(out=arguments.out, video=arguments.video, minutes=arguments.minutes, seed=arguments.seed))
    except TrainingInterruptedError as reason:
        return interrupted(reason)
    return Report(figures=result.figures, text=f"wrote {result.page}; the world is in {result.world}")
