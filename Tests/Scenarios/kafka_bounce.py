"""Bounces brokers, workers and the feeder of a pipeline on Kafka, and has the ends judged: see test_kafka_bounce.py."""
import collections
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
CLUSTER = os.path.join(HERE, "..", "..", "..", "shared", "kafka", "kafka-cluster")
BINARY = os.environ.get("MAILFLOW_BOUNCE") or os.path.join(HERE, "..", "..", ".build", "debug", "kafka-bounce")
NO_BINARY = "no kafka-bounce: swift build --build-tests"
BROKERS = 3
SESSION = 6  # seconds: as the processes are set up
WINDOW = 256  # messages that the feeder has on their way
PATIENCE = 180  # seconds without any progress after which a run has failed


def free_port():
    """One below those that connections in TIME-WAIT take, with room for a cluster's others. These are nobody else's: ours
    are free for as long as a broker is down."""
    while True:
        port = random.randrange(30500, 32500)
        taken = False
        for number in [port + n + more for n in range(BROKERS) for more in (0, 60)]:
            with socket.socket() as probe:
                taken = taken or probe.connect_ex(("127.0.0.1", number)) == 0
        if not taken:
            return port


class Cluster:
    """Three brokers in a folder of their own."""

    def __init__(self, folder):
        self.folder = os.path.join(folder, "kafka")
        # A broker that is frozen counts as gone soon enough for a short run.
        settings = [
            "broker.session.timeout.ms=4000", "broker.heartbeat.interval.ms=1000", "replica.lag.time.max.ms=4000",
            # How often transactions of producers that died are looked for: 10 s by default.
            "transaction.abort.timed.out.transaction.cleanup.interval.ms=2000"]
        words = [word for setting in settings for word in ("--set", setting)]
        self.servers = self.tool(
            "start", "--brokers", str(BROKERS), "--port", str(free_port()), "--heap", "320m", *words).strip()

    def put_logs_away(self):
        """What brokers that are down have logged is of their last life. `kafka-cluster start` looks for the line that says
        that a broker serves from the end of its log, and does not find it in a long one."""
        for number in range(1, BROKERS + 1):
            folder = os.path.join(self.folder, str(number))
            log = os.path.join(folder, "kafka.log")
            try:
                with open(os.path.join(folder, "pid")) as file:
                    with open(f"/proc/{file.read().strip()}/stat") as stat:
                        is_down = stat.read().rsplit(")", 1)[1].split()[0] == "Z"
            except OSError:
                is_down = True
            if is_down and os.path.exists(log):
                with open(log, "rb") as old, open(f"{log}.earlier", "ab") as earlier:
                    shutil.copyfileobj(old, earlier)
                os.truncate(log, 0)

    def tool(self, verb, *words, tries=5):
        if verb == "start":
            self.put_logs_away()
        result = subprocess.run(
            [CLUSTER, verb, self.folder, *words], capture_output=True, text=True, timeout=600, stdin=subprocess.DEVNULL)
        if result.returncode and verb == "start" and "not serving" in result.stderr and tries > 1:
            return self.tool(verb, *words, tries=tries - 1)  # a machine that is too busy for them
        if result.returncode:
            raise AssertionError(f"kafka-cluster {verb} {words}: {result.stderr[-2000:]}")
        return result.stdout

    def behind(self):
        """The partitions of which a replica is not in sync, a line each."""
        return self.tool("tool", "topics", "--describe", "--under-replicated-partitions").strip()

    def hanging(self):
        """The transactions that are open for minutes, far beyond their time limit: the coordinator has ended them, and a
        partition was not told (docs/kafka.md). Nothing behind is ever read."""
        found = []
        for number in range(1, BROKERS + 1):
            words = ["find-hanging", "--broker-id", str(number), "--max-transaction-timeout", "1"]
            lines = self.tool("tool", "transactions", *words).splitlines()
            found += [line for line in lines if line.strip() and not line.startswith("Topic")]
        return found

    def close(self):
        for number in range(1, BROKERS + 1):
            self.tool("thaw", str(number))
        self.tool("kill")


class Process:
    """One kafka-bounce; its lines are handed to `hear` as they come."""

    def __init__(self, words, hear, errors):
        self.process = subprocess.Popen(
            [BINARY, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True)
        self.pid = self.process.pid
        self.ready = threading.Event()
        self.hear = hear
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def read(self):
        for line in self.process.stdout:
            if line == "ready\n":
                self.ready.set()
            else:
                self.hear(line.rstrip("\n"))
        self.ready.set()

    def send(self, number):
        if self.process.poll() is None:
            os.kill(self.pid, number)

    def end(self, number=signal.SIGKILL, limit=60):
        """Ends it, and returns its code; a clean end has a limit."""
        self.send(number)
        try:
            code = self.process.wait(limit)
        except subprocess.TimeoutExpired:
            if os.environ.get("GDB"):
                with open(f"/tmp/hang-{self.pid}", "w") as out:
                    words = ["gdb", "-p", str(self.pid), "-batch", "-ex", "thread apply all bt 16"]
                    subprocess.run(words, stdout=out, stderr=out)
            self.send(signal.SIGKILL)
            code = f"not within {limit} s"
            self.process.wait(10)
        self.process.stdin.close()
        self.reader.join(10)
        self.process.stdout.close()
        return code

    def memory(self):
        """The most that was resident, in MB."""
        try:
            with open(f"/proc/{self.pid}/status") as status:
                return next((int(line.split()[1]) // 1024 for line in status if line.startswith("VmHWM")), 0)
        except OSError:
            return 0


class Bounce:
    """A whole run. `problems` is empty at the end if everything held."""

    def __init__(self, seed, messages, rate, workers=3, storm=0):
        self.seed, self.messages, self.rate, self.storm = seed, messages, rate, storm
        self.names = [f"worker-{number}" for number in range(workers)]
        self.folder = tempfile.mkdtemp(prefix="bounce-")
        self.acknowledged = os.path.join(self.folder, "acknowledged")
        self.log = open(os.path.join(self.folder, "errors"), "ab")
        self.workers, self.verifier, self.cluster = {}, None, None
        self.kills = collections.Counter()
        self.heard = collections.Counter()
        self.errors = collections.deque(maxlen=200)
        self.problems, self.actions, self.stood = [], [], []
        self.standing = []  # what did not go on
        self.hanging = []  # transactions that Kafka left open: then it could not
        self.progress = (0, 0, 0)
        self.verdict = {}
        self.memory = 0
        self.healing = threading.Event()
        self.began = time.monotonic()

    # The parts

    def start(self, *words, hear=lambda line: None):
        return Process([words[0], self.cluster.servers, "bounce", str(self.seed), *words[1:]], hear, self.log)

    def start_worker(self, name):
        def hear(line):
            self.heard[line.split("\t")[0]] += 1
            if not line.startswith("partitions assigned"):
                self.errors.append(f"{self.now():.1f} {name} {line}")
        self.workers[name] = self.start("worker", name, hear=hear)
        return self.workers[name]

    def now(self):
        return time.monotonic() - self.began

    def say(self, text):
        print(f"bounce {self.now():6.1f} s: {text}", flush=True)

    def act(self, kind, whom, began=None):
        self.kills[kind] += 1
        self.actions.append((time.monotonic() if began is None else began, f"{kind} {whom}"))

    def hear_verifier(self, line):
        word, _, rest = line.partition(" ")
        if word == "progress":
            self.progress = tuple(int(part) for part in rest.split())
        elif word == "verdict":
            self.verdict = {name: int(value) for name, value in (part.split("=") for part in rest.split())}
        elif word == "stood":
            self.stood.append(tuple(int(part) for part in rest.split()))
        elif word == "wrong":
            self.problems.append(line)
        else:
            self.errors.append(f"{self.now():.1f} {line}")

    def pause(self, seconds):
        """Over sooner when the healing begins."""
        self.healing.wait(seconds)

    # What happens to them

    def bounce_brokers(self, chance):
        kinds = ["killed", "stopped", "frozen"]
        turn = 0
        while not self.healing.is_set():
            if turn:
                self.wait_for_replicas()
            number = str(1 + turn % BROKERS)
            kind = kinds[turn % len(kinds)] if turn < len(kinds) else chance.choice(kinds)
            self.act(f"broker {kind}", number)
            if kind == "frozen":
                self.cluster.tool("freeze", number)
                self.pause(chance.choice([1, 6]))
                self.cluster.tool("thaw", number)
            else:
                self.cluster.tool("kill" if kind == "killed" else "stop", number)
                self.pause(chance.uniform(0, 4))
                self.cluster.tool("start")
            self.get_on(chance.uniform(1, 4))
            turn += 1

    def wait_for_replicas(self):
        """One broker at a time is what three replicas are for: a blow to the last one in sync would leave a partition without
        a leader, and Kafka 4.3.1 does not end transactions there ("Couldn't find leader endpoint"): all would stand still."""
        end = time.monotonic() + PATIENCE
        while not self.healing.is_set() and self.cluster.behind():
            if time.monotonic() > end:
                self.problems.append(f"{self.now():.0f} s: replicas did not catch up within {PATIENCE} s")
                self.healing.set()
            self.pause(1)

    def bounce_workers(self, chance):
        kinds = [
            "killed, back at once", "frozen past its session", "stopped", "replaced while frozen", "killed, back late"]
        turn = 0
        while not self.healing.is_set():
            name = self.names[turn % len(self.names)]
            kind = kinds[turn % len(kinds)] if turn < len(kinds) else chance.choice(kinds)
            worker = self.workers[name]
            self.memory = max(self.memory, worker.memory())
            self.act(f"worker {kind}", name)
            if kind == "stopped":
                self.stop_worker(name)
                self.start_worker(name)
            elif kind.startswith("killed"):
                worker.end()
                if kind.endswith("late"):
                    self.pause(SESSION + 2)
                self.start_worker(name)
            else:
                worker.send(signal.SIGSTOP)
                if kind.startswith("replaced"):
                    self.pause(chance.uniform(0, 1))
                    self.start_worker(name).ready.wait(60)
                self.pause(SESSION + 2)
                worker.send(signal.SIGCONT)
                if kind.startswith("replaced"):
                    # Awake, it fights for its name; not for ever.
                    self.pause(2)
                    worker.end()
            self.get_on(chance.uniform(1, 4))
            turn += 1

    def storm_workers(self, chance):
        """Members join and leave every few seconds."""
        while not self.healing.is_set():
            name = chance.choice(self.names)
            worker = self.workers.get(name)
            if worker is None:
                self.act("worker joins", name)
                self.start_worker(name)
            elif chance.random() < 0.6:
                self.act("worker leaves", name)
                self.stop_worker(name)
                del self.workers[name]
            else:
                self.act("worker killed, back at once", name)
                self.memory = max(self.memory, worker.memory())
                worker.end()
                self.start_worker(name)
            self.pause(chance.uniform(0.5, 3))

    def stop_worker(self, name):
        self.memory = max(self.memory, self.workers[name].memory())
        code = self.workers[name].end(signal.SIGTERM)
        if code != 0:
            self.problems.append(f"{name} ended with {code} on SIGTERM")

    def get_on(self, seconds):
        """Waits, and until something has ended since, so that nothing is starved."""
        before, end = self.progress[2], time.monotonic() + PATIENCE
        self.pause(seconds)
        while not self.healing.is_set() and self.progress[2] == before:
            if time.monotonic() > end:
                self.standing.append(f"{self.now():.0f} s: nothing ended for {PATIENCE} s")
                self.healing.set()
            time.sleep(0.1)

    def feed(self, chance):
        """Sends everything in, with feeders that are killed now and then: each goes on behind what it may have sent."""
        def hear(line):
            self.heard["feeder " + line.split("\t")[0].split(" ")[0]] += 1
            if not line.startswith("again"):
                self.errors.append(f"{self.now():.1f} feeder {line}")
        first = 0
        while first < self.messages:
            feeder = self.start(
                "feed", str(first), str(self.messages - first), str(self.rate), self.acknowledged, hear=hear)
            feeder.ready.wait(60)
            kills = self.kills["feeder killed"]
            lives = chance.uniform(0.3, 0.7) * min(30, self.messages / self.rate) if kills == 0 else 30
            try:
                code = feeder.process.wait(lives if kills < 5 else 3600)
            except subprocess.TimeoutExpired:
                self.act("feeder killed", "")
                code = None
                first = self.last_acknowledged() + WINDOW + 1
            feeder.end()
            if code == 0:
                break
            if code is not None:
                self.problems.append(f"the feeder ended with {code}")
                break

    def last_acknowledged(self):
        try:
            with open(self.acknowledged) as file:
                return max((int(line) for line in file if line.endswith("\n")), default=-1)
        except OSError:
            return -1

    # The run

    def run(self):
        try:
            self.cluster = Cluster(self.folder)
            self.say(f"seed {self.seed}, {self.messages} messages, brokers at {self.cluster.servers}")
            for name in self.names:
                self.start_worker(name)
            for worker in self.workers.values():
                worker.ready.wait(PATIENCE)
            self.verifier = self.start("verify", self.acknowledged, hear=self.hear_verifier)
            self.verifier.ready.wait(60)
            feeding = self.guarded(self.feed, 1)
            bouncing = [self.guarded(self.bounce_brokers, 2)]
            bouncing.append(self.guarded(self.storm_workers if self.storm else self.bounce_workers, 3))
            feeding_since = self.now()
            while feeding.is_alive() or self.now() - feeding_since < self.storm:
                self.tell()
                feeding.join(5)
                if not feeding.is_alive():
                    self.pause(1)
                if self.healing.is_set():
                    break
            self.healing.set()
            for thread in bouncing:
                thread.join(120)
            self.heal()
            if not self.hanging:
                self.problems += self.standing
                self.judge()
        finally:
            self.close()
        return self.problems

    def guarded(self, body, number):
        def run():
            try:
                body(random.Random(self.seed * 10 + number))
            except Exception as error:  # noqa: BLE001: whatever it is, the run has failed
                self.problems.append(f"{body.__name__}: {error!r}")
                self.healing.set()
        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        return thread

    def tell(self):
        sent, ended, _ = self.progress
        self.say(f"{sent} acknowledged, {ended} ended, {sum(self.kills.values())} blows")

    def heal(self):
        """Everybody is well again: everything has to come to its end."""
        for number in range(1, BROKERS + 1):
            self.cluster.tool("thaw", str(number))
        self.cluster.tool("start")
        for name in self.names:
            if name not in self.workers or self.workers[name].process.poll() is not None:
                self.start_worker(name)
        with open(self.acknowledged, "a") as file:
            file.write("end\n")
        seen, since = None, time.monotonic()
        told = 0
        while self.verifier.process.poll() is None:
            if self.progress != seen:
                seen, since = self.progress, time.monotonic()
            if time.monotonic() - since > PATIENCE:
                self.standing.append(f"stuck: {self.progress[0] - self.progress[1]} have not ended")
                self.hanging = self.cluster.hanging()
                break
            if time.monotonic() - told > 5:
                self.tell()
                told = time.monotonic()
            time.sleep(0.1)

    def judge(self):
        self.verifier.end()
        self.memory = max([self.memory] + [worker.memory() for worker in self.workers.values()])
        for name in list(self.workers):
            self.stop_worker(name)
        if not self.verdict or any(self.verdict[name] for name in ("lost", "twice", "unknown", "wrong", "disorder")):
            self.problems.append(f"verdict: {self.verdict}")
        if not self.verdict.get("acknowledged"):
            self.problems.append("nothing was acknowledged")

    def close(self):
        self.healing.set()
        for process in [*self.workers.values(), self.verifier]:
            if process is not None and process.process.poll() is None:
                process.end()
        if self.cluster:
            self.cluster.close()
        self.log.close()
        if self.problems and os.environ.get("KEEP"):
            self.say(f"kept: {self.folder}")
        else:
            shutil.rmtree(self.folder, ignore_errors=True)

    def report(self):
        self.say(f"seed {self.seed}: {dict(sorted(self.kills.items()))}")
        self.say(f"heard {dict(sorted(self.heard.items()))}")
        for partition, at, milliseconds in self.stood:
            ages = [(at / 1000 - moment, text) for moment, text in self.actions]
            near = [f"{text} {age:.1f} s before" for age, text in ages if -2 <= age <= 12]
            self.say(f"order[{partition}] stood still for {milliseconds} ms: {', '.join(near[-4:])}")
        self.say(f"memory of a worker at most {self.memory} MB")
        self.say(" ".join(f"{name}={value}" for name, value in self.verdict.items()))
        for line in (list(self.errors)[-30:] if self.problems or os.environ.get('LOUD') else []):
            self.say(f"  {line[:300]}")
        for problem in self.problems:
            self.say(f"PROBLEM {problem[:1000]}")
        for line in self.hanging:
            self.say(f"left open by Kafka: {line}")
