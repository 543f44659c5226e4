"""A Kafka of a scenario's own, which it may stop, freeze and take things away from."""
import os
import random
import shutil
import socket
import subprocess
import tempfile

CLUSTER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "..", "shared", "kafka", "kafka-cluster")
HOW_TO_GET_IT = "no Kafka: ../shared/kafka/kafka-cluster starts the brokers"
IS_THERE = os.access(CLUSTER, os.X_OK)


def free_port():
    """One below those that connections in TIME-WAIT take, with room for SASL, TLS and the controller."""
    while True:
        port = random.randrange(20000, 30000)
        taken = False
        for number in [port + n + more for n in range(3) for more in (0, 20, 40, 60)]:
            with socket.socket() as probe:
                taken = taken or probe.connect_ex(("127.0.0.1", number)) == 0
        if not taken:
            return port


class Kafka:
    """`with Kafka() as kafka:` one broker; words are for `kafka-cluster start`."""

    def __init__(self, *words, brokers=1):
        self.words, self.brokers = words, brokers
        self.folder = None

    def __enter__(self):
        self.parent = tempfile.mkdtemp(prefix="kafka-")
        self.folder = os.path.join(self.parent, "kafka")
        self.port = free_port()
        self.sasl, self.tls = f"127.0.0.1:{self.port + 20}", f"127.0.0.1:{self.port + 40}"
        self.servers = self.run(
            "start", "--brokers", str(self.brokers), "--port", str(self.port), "--heap", "384m", *self.words).strip()
        return self

    def __exit__(self, *_):
        for number in range(1, self.brokers + 1):
            self.run("thaw", str(number))
        self.run("kill")
        shutil.rmtree(self.parent, ignore_errors=True)

    def run(self, verb, *words):
        result = subprocess.run(
            [CLUSTER, verb, self.folder, *words], capture_output=True, text=True, timeout=600, stdin=subprocess.DEVNULL)
        if result.returncode:
            raise AssertionError(f"kafka-cluster {verb} {words}: {result.stdout[-1000:]}{result.stderr[-2000:]}")
        return result.stdout

    def tool(self, *words):
        return self.run("tool", *words)

    def pid(self, number=1):
        with open(os.path.join(self.folder, str(number), "pid")) as file:
            return int(file.read())
