"""The pipeline and its broker, beside C on SQLite."""
import shutil

from measure import line, result


def rate(run):
    return run["count"] / run["seconds"]


def cost(run, unit=1e6):
    """CPU a record or message, in microseconds unless told."""
    return run["cpu"] / run["count"] * unit


def append(setting):
    """Records of 1 KiB: one caller with batches of several sizes, then 256 callers with one record each."""
    bench, peer = setting.swift("bench"), setting.c("append")
    scale = 1 if setting.quick else 4
    for batch, records in [(1, 2_000), (10, 10_000), (100, 40_000), (1000, 40_000)]:
        ours, theirs = [], []
        for _ in range(setting.rounds):
            ours.append(result(bench, "append", setting.fresh("ours"), batch, records * scale))
            theirs.append(result(peer, setting.fresh("peer"), batch, records * scale))
        compare(f"append-{batch}", ours, theirs, 0.9)
    ours, theirs = [], []
    for _ in range(setting.rounds):
        ours.append(result(bench, "group", setting.fresh("ours"), 256, 40_000 * scale))
        batch = round(ours[-1]["count"] / ours[-1]["commits"])
        theirs.append(result(peer, setting.fresh("peer"), batch, 40_000 * scale))
    compare("append-256-callers", ours, theirs, 0.9)


def compare(name, ours, theirs, goal):
    line(name, list(map(rate, ours)), list(map(rate, theirs)), "records/s", higher=True, ratio_goal=goal)
    line(f"{name}-cpu", list(map(cost, ours)), list(map(cost, theirs)), "µs/record")


def chain(setting):
    """Seven empty stages, 10 KiB messages, all waiting at the start. The peer has batches and commits of the same size."""
    bench, peer = setting.swift("bench"), setting.c("chain")
    messages = 10_000 if setting.quick else 30_000
    ours, theirs = [], []
    for _ in range(setting.rounds):
        ours.append(result(bench, "chain", setting.fresh("ours"), messages))
        batch = round(7 * messages / ours[-1]["settles"])
        shared = max(1, round(ours[-1]["settles"] / ours[-1]["commits"]))
        theirs.append(result(peer, setting.fresh("peer"), batch, shared, messages))
    line("chain", list(map(rate, ours)), list(map(rate, theirs)), "messages/s", higher=True, ratio_goal=0.7)
    costs = [cost(run, 1e3) for run in ours], [cost(run, 1e3) for run in theirs]
    line("chain-cpu", *costs, "ms/message", ours_goal=0.1)


def growth(setting):
    """Append and hop of 300-byte records with nothing and with two million waiting; the peer is ours when empty."""
    bench = setting.swift("bench")
    waiting, records = (400_000, 50_000) if setting.quick else (2_000_000, 100_000)
    filled = setting.fresh("filled")
    result(bench, "fill", filled, waiting)
    runs = {"full": [], "empty": []}
    for _ in range(setting.rounds):
        # Every round begins with the same file.
        runs["empty"].append(result(bench, "grow", setting.fresh("round"), records))
        shutil.copytree(filled, setting.fresh("round"), dirs_exist_ok=True)
        runs["full"].append(result(bench, "grow", setting.folder + "/round", records))
    for name, seconds, used in [("append", "appendSeconds", "appendCpu"), ("hop", "seconds", "cpu")]:
        for what, field in [("", seconds), ("-cpu", used)]:
            full, empty = ([run[field] / run["count"] * 1e6 for run in runs[kind]] for kind in ["full", "empty"])
            line(f"growth-{name}{what}", full, empty, "µs/record", ratio_goal=0.77)


def slow(setting):
    """Latency of ordinary messages at 100 a second, with 1% that take a minute and without; the peer is ours without."""
    bench = setting.swift("bench")
    seconds, rounds = (15, 1) if setting.quick else (40, 3)
    with_slow, without = [], []
    for _ in range(rounds):
        without.append(result(bench, "slow", setting.fresh("round"), seconds, 0))
        with_slow.append(result(bench, "slow", setting.fresh("round"), seconds, 1))
    for which in ["p50", "p99"]:
        ours, theirs = ([run[which] for run in runs] for runs in [with_slow, without])
        line(f"slow-{which}", ours, theirs, "ms", ratio_goal=0.5 if which == "p99" else None)
