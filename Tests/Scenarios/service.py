"""Starts the built binary on a folder and ports of its own, and ends it by its process id."""
import http.client
import json
import os
import signal
import subprocess
import tempfile
import threading
import time

BINARY = os.environ.get("MAILFLOW_BINARY") or os.path.abspath(".build/debug/mailflow")
TOPOLOGY = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "topology.yaml")
LIMIT = 60  # seconds that anything may take
STAGES = ["validate", "spam-scan", "virus-scan", "store", "index", "notify"]  # of the shipped topology
PASSED = [("accepted", ""), *[("done", stage) for stage in STAGES]]


def wait_for(what, condition, limit=LIMIT):
    """Asks until the condition answers something true; the time limit is for failures only."""
    end = time.monotonic() + limit
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() > end:
            raise AssertionError(f"not within {limit} s: {what}")
        time.sleep(0.02)


class Service:
    """`mailflow up` with the shipped topology (or another), free ports and a data folder."""

    def __init__(self, topology=TOPOLOGY, data=None, settings=(), binary=BINARY):
        self.binary = binary
        self.topology = topology
        self.folder = None if data else tempfile.TemporaryDirectory(prefix="mailflow-")
        self.data = data or self.folder.name
        self.settings = ["gateways.smtp.listen=127.0.0.1:0", "gateways.web.listen=127.0.0.1:0", *settings]
        self.process = None
        self.errors = []
        self.reader = None
        self.tokens = {}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill()
        if self.folder:
            self.folder.cleanup()

    def arguments(self):
        return ["--topology", self.topology, "--data", self.data] + [
            word for setting in self.settings for word in ("--set", setting)]

    def command(self, *words, **more):
        return subprocess.run([self.binary, *words, *self.arguments()], capture_output=True, text=True, timeout=LIMIT, **more)

    def add_user(self, address):
        result = self.command("user", "add", address, "--token", "--json")
        assert result.returncode == 0, result.stderr
        self.tokens[address] = json.loads(result.stdout)["token"]
        return self.tokens[address]

    def start(self, *words):
        """`up`, or other words, until it says that it is ready."""
        self.process = subprocess.Popen(
            [self.binary, *(words or ["up"]), *self.arguments()], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        stderr = self.process.stderr
        self.reader = threading.Thread(target=lambda: self.errors.extend(stderr), daemon=True)
        self.reader.start()
        timer = threading.Timer(LIMIT, self.process.kill)
        timer.start()
        line = self.process.stdout.readline()
        timer.cancel()
        assert line, "not ready: " + "".join(self.errors[-20:])
        self.ready = json.loads(line)
        self.smtp = self.address("smtp")
        self.web = self.address("web")
        return self

    def address(self, gateway):
        if gateway not in self.ready["listen"]:
            return None
        host, port = self.ready["listen"][gateway].rsplit(":", 1)
        return host, int(port)

    def stop(self, may_crash=False):
        """SIGTERM and the exit code. Whoever crashes on the way out has failed, even if nothing was lost."""
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(LIMIT)
        self.process.stdout.close()
        # What a crash has to say is waited for, but not for ever: who prints its stack may hang with stderr open.
        self.reader.join(LIMIT)
        if not self.reader.is_alive():
            self.process.stderr.close()
        crashes = [line for line in self.errors if "crashed while it stopped" in line]
        assert may_crash or not crashes, crashes
        return code

    def kill(self):
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def children(self):
        """Process ids of the children by name."""
        found = {}
        for pid in os.listdir("/proc"):
            if not pid.isdigit():
                continue
            try:
                with open(f"/proc/{pid}/stat") as stat, open(f"/proc/{pid}/cmdline") as line:
                    parent = int(stat.read().rsplit(")", 1)[1].split()[1])
                    words = line.read().split("\0")
            except OSError:
                continue
            if parent == self.process.pid and words[1:2] == ["child"]:
                found[words[2]] = int(pid)
        return found

    def get(self, path, token=None, host=None):
        connection = http.client.HTTPConnection(*(host or self.web), timeout=LIMIT)
        try:
            connection.request("GET", path, headers={"Authorization": f"Bearer {token}"} if token else {})
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def json(self, path, token):
        status, body = self.get(path, token)
        assert status == 200, (status, body)
        return json.loads(body)

    def messages(self, token, limit=500):
        """Every message of the mailbox, by pages."""
        found, cursor = [], None
        while True:
            page = self.json(f"/v1/messages?limit={limit}" + (f"&cursor={cursor}" if cursor else ""), token)
            found += page["messages"]
            cursor = page["cursor"]
            if not cursor:
                return found

    def waiting(self):
        """How many records wait in each topic that has some, dead letters included."""
        topics = json.loads(self.command("lag", "--json").stdout)["topics"]
        return {topic["topic"]: topic["records"] for topic in topics if topic["records"]}

    def timeline(self, message):
        """What happened to a message, without being passed on: events and stages."""
        events = json.loads(self.command("trace", message, "--json").stdout)["events"]
        return [(event["event"], event["stage"]) for event in events if event["event"] != "moved"]

    def raw(self, message, token):
        status, body = self.get(f"/v1/messages/{message}/raw", token)
        assert status == 200, (status, body)
        return body
