"""On a real Kafka broker: the engine beside C on librdkafka, the service beside itself on the embedded broker."""
import itertools
import os

from cluster import Cluster
from engine import cost, rate
from measure import line, result
from service import USER, Mailflow, burst

# What ours are set up with, too.
PEER = ["compression.codec=lz4"]
GUARANTEES = {"transactional": "exactly-once", "at-least-once": "at-least-once"}


class Sides:
    """Both programs, and a cluster that all measurements of a run share."""
    cluster = None

    def __init__(self, setting):
        self.ours, self.peer = setting.swift("bench"), setting.c("kafka", "-lrdkafka", "-lpthread")
        if not Sides.cluster:
            # Outlives the measurement: `Benchmarks/run` ends it.
            Sides.cluster = Cluster(setting.shared("kafka"), self.ours)
        self.cluster = Sides.cluster
        self.servers = self.cluster.servers

    def pair(self, *words):
        """Ours and the peer's results of the same work. A word that is a function makes a fresh topic for each."""
        results = []
        for program, more in [([self.ours, "kafka"], []), ([self.peer], PEER)]:
            topics, arguments = [], []
            for word in words[1:]:
                if callable(word):
                    topics.append(word())
                    word = topics[-1]
                arguments.append(word)
            results.append(result(*program, words[0], self.servers, *arguments, *more))
            if topics:
                self.cluster.delete(*topics)
        return results

    @staticmethod
    def stop():
        if Sides.cluster:
            Sides.cluster.stop()
            Sides.cluster = None


def both(pairs, name, goals=(None, None)):
    """The lines of rate and CPU; goals are ratios."""
    ours, theirs = zip(*pairs)
    line(name, [rate(run) for run in ours], [rate(run) for run in theirs], "records/s", higher=True, ratio_goal=goals[0])
    line(f"{name}-cpu", [cost(run) for run in ours], [cost(run) for run in theirs], "µs/record", ratio_goal=goals[1])


def waits(pairs, name, goal=None):
    ours, theirs = zip(*pairs)
    for which in ["p50", "p99"]:
        line(
            f"{name}-{which}", [run[which] for run in ours], [run[which] for run in theirs], "ms",
            ours_goal=goal if which == "p50" else None)


# MARK: The engine


def hop(setting):
    """Records of 1 KiB from 24 partitions to 24 others, up to 5,000 a hop; three headers are read, three added."""
    sides = Sides(setting)
    count = 30_000 if setting.quick else 100_000
    source = sides.cluster.fresh("source")
    result(sides.peer, "produce", sides.servers, source, count, 1024, *PEER)
    for name, guarantee in GUARANTEES.items():
        pairs = [
            sides.pair("hop", source, lambda: sides.cluster.fresh("target"), count, 5000, guarantee)
            for _ in range(setting.rounds)]
        both(pairs, f"kafka-hop-{name}", (0.9, 0.77))
    sides.cluster.delete(source)


def append(setting):
    """Records of 1 KiB appended 5,000 a call, and read by a member of a group."""
    sides = Sides(setting)
    count = 50_000 if setting.quick else 200_000
    pairs = [sides.pair("produce", lambda: sides.cluster.fresh("produce"), count, 1024) for _ in range(setting.rounds)]
    both(pairs, "kafka-produce", (0.9, 0.77))
    source = sides.cluster.fresh("consume")
    result(sides.peer, "produce", sides.servers, source, count, 1024, *PEER)
    both([sides.pair("consume", source, count) for _ in range(setting.rounds)], "kafka-consume", (0.9, 0.77))
    sides.cluster.delete(source)


def latency(setting):
    """One hop at 100 records a second: from a record's acknowledgement until the next reader has it."""
    sides = Sides(setting)
    count = 400 if setting.quick else 800
    for name, guarantee in GUARANTEES.items():
        pairs = [
            sides.pair(
                "latency", lambda: sides.cluster.fresh("source"), lambda: sides.cluster.fresh("target"), count,
                guarantee)
            for _ in range(1 if setting.quick else 3)]
        waits(pairs, f"kafka-latency-{name}", 15)
        ours, theirs = zip(*pairs)
        line(f"kafka-latency-{name}-cpu", [cost(run, 1e3) for run in ours], [cost(run, 1e3) for run in theirs], "ms/record")


# MARK: The service


class Service(Mailflow):
    """`mailflow up`, or only its gateways, on Kafka or on the embedded broker."""
    numbers = itertools.count(1)

    def __init__(self, setting, folder, servers=None, accepts_only=False):
        more = ["--set", f"name=bench{os.getpid()}-{next(Service.numbers)}"]
        if servers:
            more += ["--set", f"broker=kafka://{servers}"]
        super().__init__(setting, folder, ["run", "--gateways", "smtp"] if accepts_only else ["up"], more)


def beside_embedded(setting, accepts_only):
    sides = Sides(setting)
    services = []
    for name, servers in [("kafka", sides.servers), ("embedded", None)]:
        services.append(Service(setting, setting.fresh(name), servers, accepts_only))
        setting.ending.append(services[-1].stop)
    return sides, services


def accept(setting):
    """Messages of 10 KiB by SMTP until they are durable, beside the embedded broker; below that, C's waits for Kafka."""
    sides, services = beside_embedded(setting, True)
    smtp = setting.c("smtp", "-lpthread")
    topic = sides.cluster.fresh("accept")
    for sessions, messages in [(1, 500), (20, 3_000), (200, 6_000)]:
        messages = messages // 3 if setting.quick else messages
        bursts, timed, raw = [], [], []
        for _ in range(1 if setting.quick else 3):
            bursts.append([accepted(service, sessions, messages) for service in services])
            timed.append([
                result(smtp, service.smtp, sessions, messages, 10240, "bob@example.org", USER) for service in services])
            raw.append(result(sides.peer, "single", sides.servers, topic, messages, sessions, 10240, *PEER))
        ours, theirs = zip(*bursts)
        name = f"kafka-accept-{sessions}"
        line(name, [run["rate"] for run in ours], [run["rate"] for run in theirs], "messages/s", higher=True)
        line(f"{name}-cpu", [run["cpu"] for run in ours], [run["cpu"] for run in theirs], "ms/message")
        waits(timed, f"{name}-reply")
        waits(list(zip([run[0] for run in timed], raw)), f"{name}-reply-beside-c")
    sides.cluster.delete(topic)


def accepted(service, sessions, messages):
    """A burst until the last one is accepted; nobody works on the messages."""
    return burst(service.smtp, messages, None, service.pid, sessions=sessions)


def chain(setting):
    """The shipped stages, from SMTP to the mailbox, beside the embedded broker."""
    _, services = beside_embedded(setting, False)
    messages = 500 if setting.quick else 2_000
    runs = [
        [burst(service.smtp, messages, service.delivered, service.pid) for service in services]
        for _ in range(setting.rounds)]
    ours, theirs = zip(*runs)
    line("kafka-chain", [run["rate"] for run in ours], [run["rate"] for run in theirs], "messages/s", higher=True)
    line("kafka-chain-cpu", [run["cpu"] for run in ours], [run["cpu"] for run in theirs], "ms/message")
