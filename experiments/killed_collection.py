"""Kills `worldline collect zoo` with SIGKILL, once while it films and once while it writes, goes on, and compares with an unbroken run.

    python experiments/killed_collection.py FOLDER [--domains towers push] [--episodes 10]

Prints whether every file has equal bytes. FOLDER must not exist.
"""

import argparse
import filecmp
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path


def start(out: Path, domains: list[str], episodes: int) -> subprocess.Popen[bytes]:
    options = ["collect", "zoo", "--domains", *domains, "--episodes", str(episodes), "--out", str(out)]
    return subprocess.Popen([sys.executable, "-c", "from worldline.cli import main; raise SystemExit(main())", *options])


def kill_when(process: subprocess.Popen[bytes], ready: Callable[[], bool]) -> None:
    while not ready():
        if process.poll() is not None:
            raise SystemExit("the run ended before it could be killed; film more episodes")
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()


def files(folder: Path) -> list[Path]:
    return sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--domains", nargs="+", default=["towers", "push"])
    parser.add_argument("--episodes", type=int, default=10)
    given = parser.parse_args()
    given.folder.mkdir(parents=True)
    broken, unbroken = given.folder / "broken", given.folder / "unbroken"
    first, last = (broken / domain / "train" for domain in (given.domains[0], given.domains[-1]))
    films = first.with_name(".train.episodes")
    kill_when(start(broken, given.domains, given.episodes), lambda: len(list(films.glob("*.safetensors"))) >= given.episodes // 3)
    print(f"killed with {len(list(films.glob('*.safetensors')))} of {given.episodes} episodes of {given.domains[0]}", flush=True)
    kill_when(start(broken, given.domains, given.episodes), last.exists)
    print(f"killed while {last} was written: {', '.join(sorted(path.name for path in last.iterdir()))}", flush=True)
    for out in (broken, unbroken):
        if start(out, given.domains, given.episodes).wait() != 0:
            raise SystemExit(f"the run into {out} failed")
    names = files(unbroken)
    _, different, missing = filecmp.cmpfiles(unbroken, broken, names, shallow=False)
    equal = names == files(broken) and not different and not missing
    print(f"{'equal' if equal else 'DIFFERENT'} bytes in {len(names)} files {' '.join(map(str, [*different, *missing]))}")
    raise SystemExit(not equal)


if __name__ == "__main__":
    main()
