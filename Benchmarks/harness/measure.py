"""What every measurement needs: a folder, the programs, CPU of processes, medians, and the line that comes out."""
import json
import os
import shutil
import statistics
import subprocess
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
TICK = os.sysconf("SC_CLK_TCK")


def say(line):
    print(line, flush=True)


class Setting:
    """One measurement's surroundings: how long it may take, a folder, programs, what has to be ended."""

    common = None

    def __init__(self, quick):
        self.quick = quick
        self.rounds = 2 if quick else 5
        self.ending = []

    def __enter__(self):
        self.folder = tempfile.mkdtemp(prefix="mailflow-bench-", dir=os.environ.get("BENCH_FOLDER"))
        # Servers that give up root have to get in.
        os.chmod(self.folder, 0o755)
        return self

    def __exit__(self, *_):
        for end in reversed(self.ending):
            end()
        shutil.rmtree(self.folder, ignore_errors=True)

    def fresh(self, name):
        path = os.path.join(self.folder, name)
        shutil.rmtree(path, ignore_errors=True)
        os.mkdir(path)
        return path

    def shared(self, name):
        """A folder that the measurements after this one use too; `remove_shared` removes it."""
        if not Setting.common:
            Setting.common = tempfile.mkdtemp(prefix="mailflow-bench-", dir=os.environ.get("BENCH_FOLDER"))
        path = os.path.join(Setting.common, name)
        os.makedirs(path, exist_ok=True)
        return path

    @staticmethod
    def remove_shared():
        if Setting.common:
            shutil.rmtree(Setting.common, ignore_errors=True)
            Setting.common = None

    def swift(self, name):
        """A product that was built for release."""
        shown = subprocess.run(
            ["swift", "build", "-c", "release", "--show-bin-path"], cwd=ROOT, check=True, capture_output=True, text=True)
        path = os.path.join(shown.stdout.strip(), name)
        if not os.path.exists(path):
            raise FileNotFoundError(f"{path}: build it first, swift build -c release --product {name}")
        return path

    def c(self, name, *libraries):
        """A peer in C, compiled now; on SQLite unless told otherwise."""
        path = os.path.join(self.folder, name + "-peer")
        source = os.path.join(ROOT, "Benchmarks", "C", name + ".c")
        subprocess.run(
            ["cc", "-O2", "-Wall", "-Wextra", "-Werror", "-o", path, source, *(libraries or ["-lsqlite3"])], check=True)
        return path


def result(*words):
    """Runs a program that prints a JSON object on its last line."""
    # What the round before left to be written must not be paid for by this one.
    os.sync()
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, timeout=900)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(map(str, words))}: exit {done.returncode}: {done.stderr[-500:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def number(value):
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def line(name, ours, peer, unit, higher=False, ratio_goal=None, ours_goal=None):
    """Prints the line: medians of the rounds, and the median of their ratios, since the machine differs between rounds.

    `higher`: more is better. Goals: the least ratio, or the most that ours may be.
    """
    ratio = statistics.median(a / b if higher else b / a for a, b in zip(ours, peer))
    ours, peer = statistics.median(ours), statistics.median(peer)
    text = f"bench {name} ours={number(ours)} peer={number(peer)} ratio={ratio:.2f} unit={unit}"
    if ratio_goal is not None:
        text += f" goal=≥{ratio_goal} {'ok' if ratio >= ratio_goal else 'missed'}"
    if ours_goal is not None:
        text += f" goal=ours≤{ours_goal} {'ok' if ours <= ours_goal else 'missed'}"
    say(text)


# MARK: Processes


def tree(*roots):
    """The processes below these, and they themselves."""
    parents = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/stat") as stat:
                parents[int(pid)] = int(stat.read().rsplit(")", 1)[1].split()[1])
        except OSError:
            continue
    found = set(roots)
    while True:
        more = {pid for pid, parent in parents.items() if parent in found} - found
        if not more:
            return found
        found |= more


def cpu(*roots):
    """User and system seconds of whole trees of processes, with those of their children that have ended."""
    total = 0
    for pid in tree(*roots):
        try:
            with open(f"/proc/{pid}/stat") as stat:
                fields = stat.read().rsplit(")", 1)[1].split()
        except OSError:
            continue
        total += sum(int(field) for field in fields[11:15])
    return total / TICK


def resident(pid):
    """Resident bytes of a process."""
    with open(f"/proc/{pid}/smaps_rollup") as file:
        for row in file:
            if row.startswith("Rss:"):
                return int(row.split()[1]) * 1024
    raise RuntimeError(f"no Rss of {pid}")


def wait_for(what, condition, limit=60, pause=0.01):
    end = time.monotonic() + limit
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > end:
            raise TimeoutError(f"not within {limit} s: {what}")
        time.sleep(pause)
