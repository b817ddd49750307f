"""`worldline bench`: see `cli.arguments.Bench`.

May import: eval.bench, the other files of cli. Refuses to know: what is timed, and how.
"""

from worldline.cli.arguments import Bench
from worldline.cli.report import Report, table
from worldline.eval.bench import bench_step, bench_train


def run(arguments: Bench) -> Report:
    """Measure, and list the figures."""
    measure = bench_step if arguments.what == "step" else bench_train
    figures = measure(size=arguments.size)
    rows = [[name, f"{value:.4g}" if isinstance(value, float) else str(value)] for name, value in figures.items()]
    return Report(figures=figures, text=table([f"bench {arguments.what}", ""], rows))
