"""One Kafka broker on loopback: the one that MAILFLOW_TEST_KAFKA names, or one of our own."""
import base64
import glob
import os
import random
import shutil
import subprocess
import time

from measure import ROOT
from peers import free_port


def home():
    """The folder of an unpacked Apache Kafka (its `libs` are enough): KAFKA_HOME, or the one beside the project."""
    for folder in [os.environ.get("KAFKA_HOME"), os.path.join(ROOT, "..", "shared", "kafka")]:
        if folder and glob.glob(os.path.join(folder, "libs", "kafka-clients-*.jar")):
            return os.path.abspath(folder)
    return None


class Cluster:
    """Started here, its folder is `folder`, and `stop` ends it. `bench` is our program, which asks whether it serves."""

    def __init__(self, folder, bench):
        self.process = None
        self.bench = bench
        self.servers = os.environ.get("MAILFLOW_TEST_KAFKA")
        if not self.servers:
            self.start(folder)
        end = time.monotonic() + 90
        while True:
            try:
                topic = self.fresh("ready")
                return self.delete(topic)
            except RuntimeError as error:
                if time.monotonic() > end or self.process and self.process.poll() is not None:
                    self.stop()
                    raise RuntimeError(f"Kafka does not serve: {error}") from error

    def start(self, folder):
        where = home()
        if not where or not shutil.which("java"):
            raise RuntimeError(
                "no Kafka: unpack Apache Kafka (4.0 or newer) and name its folder by KAFKA_HOME, or a broker by "
                "MAILFLOW_TEST_KAFKA=host:port; a broker of our own needs Java 17")
        port, controller = free_port(), free_port()
        self.servers = f"127.0.0.1:{port}"
        properties = os.path.join(folder, "server.properties")
        with open(properties, "w") as file:
            file.write(f"""
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://{self.servers},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://{self.servers}
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
log.dirs={folder}/data
offsets.topic.replication.factor=1
offsets.topic.num.partitions=8
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=8
group.initial.rebalance.delay.ms=0
auto.create.topics.enable=false
log.segment.delete.delay.ms=1000
""")
        java = ["java", "-cp", f"{where}/libs/*"]
        identity = base64.urlsafe_b64encode(os.urandom(16)).decode().rstrip("=").replace("-", "A")
        subprocess.run(
            [*java, "-XX:TieredStopAtLevel=1", "kafka.tools.StorageTool", "format", "-t", identity, "-c", properties],
            check=True, capture_output=True, timeout=120)
        log = open(os.path.join(folder, "kafka.log"), "w")
        self.process = subprocess.Popen(
            [*java, "-Xmx1g", "-Xms256m", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20", "-Djava.awt.headless=true",
             "kafka.Kafka", properties],
            stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        log.close()

    def fresh(self, name):
        """A new topic with the partitions that the benchmarks use."""
        topic = f"bench-{name}-{random.randrange(1 << 48):x}"
        self.ask("create", topic)
        return topic

    def delete(self, *topics):
        self.ask("delete", *topics)

    def ask(self, what, *topics):
        done = subprocess.run(
            [self.bench, "kafka", what, self.servers, *topics], capture_output=True, text=True, timeout=120)
        if done.returncode:
            raise RuntimeError(f"{what} {topics}: {done.stderr[-500:]}")

    def stop(self):
        if self.process:
            self.process.terminate()
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(30)
