"""`worldline collect`: see `cli.arguments.Collect`.

May import: recipes, envs, rich, the other files of cli. Refuses to know: what a domain shows.
"""

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from worldline.cli.arguments import Collect
from worldline.cli.report import Report, table
from worldline.envs.record import SPLITS
from worldline.envs.zoo import DOMAINS, load_domain
from worldline.recipes.collection import CollectionPlan, CollectionReport, collect, standard_plans

_ZOO, _LIST = "zoo", "list"


def run(arguments: Collect) -> Report:
    """Film, and say what is there."""
    if arguments.domain == _LIST:
        return _list()
    if arguments.out is None:
        raise ValueError("--out is missing; say which folder to write")
    zoo = arguments.domain == _ZOO
    if arguments.domains and not zoo:
        raise ValueError(f"--domains is for the zoo; leave it out, or write: worldline collect zoo --domains {' '.join(arguments.domains)}")
    if arguments.unusual and zoo:
        raise ValueError("--unusual names attributes of one domain; film it by its name, with --split ood")
    plans = _zoo(arguments, arguments.out) if zoo else {arguments.out: _plan(arguments)}
    # Someone who asked for a domain by its name is told at once that it is not installed; in the whole zoo it is left out.
    reports, missing = _collect_all(plans, arguments.num_workers, may_miss=zoo and not arguments.domains)
    return _summary(plans, reports, missing)


def _plan(arguments: Collect) -> CollectionPlan:
    return CollectionPlan(
        domain=arguments.domain,
        split=arguments.split,
        policy=arguments.policy,
        num_episodes=arguments.episodes,
        num_frames=arguments.frames,
        sizes=arguments.size or (64,),
        seed=arguments.seed,
        unusual=arguments.unusual,
    )


def _zoo(arguments: Collect, out: Path) -> dict[Path, CollectionPlan]:
    """What to film, by folder."""
    plans: dict[Path, CollectionPlan] = {}
    for domain in arguments.domains or DOMAINS:
        if domain not in DOMAINS:
            raise ValueError(f"domain {domain!r} is unknown; choose one of {', '.join(DOMAINS)}")
        standard = standard_plans(
            domain, num_episodes=arguments.episodes, num_frames=arguments.frames, sizes=arguments.size or (64, 128), seed=arguments.seed
        )
        plans |= {out / domain / plan.split: plan for plan in standard}
    return plans


def _collect_all(
    plans: dict[Path, CollectionPlan], num_workers: int | None, *, may_miss: bool
) -> tuple[dict[Path, CollectionReport], dict[str, str]]:
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    reports: dict[Path, CollectionReport] = {}
    missing: dict[str, str] = {}
    with Progress(*columns, console=Console(stderr=True)) as bar:
        for folder, plan in plans.items():
            if plan.domain in missing:
                continue
            task = bar.add_task(f"{plan.domain} {plan.split}", total=plan.num_episodes)

            def advance(done: int, total: int, task: TaskID = task) -> None:
                bar.update(task, completed=done)

            try:
                reports[folder] = collect(folder, plan, num_workers=num_workers, progress=advance)
            except ImportError as error:
                if not may_miss:
                    raise
                missing[plan.domain] = str(error)
            bar.update(task, completed=plan.num_episodes)
    return reports, missing


def _summary(plans: dict[Path, CollectionPlan], reports: dict[Path, CollectionReport], missing: dict[str, str]) -> Report:
    figures = {
        "collections": [
            {
                "domain": plans[folder].domain,
                "split": plans[folder].split,
                "folders": {str(size): str(place) for size, place in report.folders.items()},
                "num_episodes": report.num_episodes,
                "num_frames": report.num_episodes * plans[folder].num_frames,
                "failures": report.failures,
                "episodes_with": report.events,
                "sheet": str(folder / "sheet.png"),
            }
            for folder, report in reports.items()
        ],
        "not_installed": missing,
    }
    rows = [
        (plans[folder].domain, plans[folder].split, str(report.num_episodes), str(len(report.failures)), str(folder))
        for folder, report in reports.items()
    ]
    lines = [table(("domain", "split", "episodes", "failed", "folder"), rows), *_event_table(plans, reports)]
    for folder, report in reports.items():
        lines += [f"{folder}: episode {seed} failed: {why}" for seed, why in report.failures.items()]
    lines += [f"not installed: {why}" for why in missing.values()]
    return Report(figures=figures, text="\n".join(lines))


def _event_table(plans: dict[Path, CollectionPlan], reports: dict[Path, CollectionReport]) -> list[str]:
    """How often each event happens: whether the policies reach what a domain is there for."""
    splits = [split for split in SPLITS if any(plan.split == split for plan in plans.values())]
    shares: dict[tuple[str, str], dict[str, str]] = {}
    for folder, report in reports.items():
        for event, count in report.events.items():
            row = shares.setdefault((plans[folder].domain, event), {})
            row[plans[folder].split] = f"{100 * count / report.num_episodes:.0f}"
    rows = [(f"{domain}: {event}", *(row.get(split, "") for split in splits)) for (domain, event), row in shares.items()]
    return ["", table(("event, of 100 episodes", *splits), rows)] if rows else []


def _list() -> Report:
    """Every domain, installed or not."""
    domains: dict[str, dict[str, Any]] = {}
    for name, place in DOMAINS.items():
        try:
            domain = load_domain(name)
        except ImportError as error:
            domains[name] = {"extra": place.extra, "not_installed": str(error)}
            continue
        domains[name] = {
            "extra": place.extra,
            "rate_hz": domain.rate_hz,
            "actions": list(domain.action_spec.names) if domain.action_spec else [],
            "policies": list(domain.policy_names),
            "events": list(domain.event_names),
            "attributes": [attribute.name for attribute in domain.attributes],
        }
    rows = [
        (name, one["extra"], " ".join(one.get("policies", ["(not installed)"])), " ".join(one.get("events", [])))
        for name, one in domains.items()
    ]
    return Report(figures=domains, text=table(("domain", "extra", "policies", "events"), rows))
