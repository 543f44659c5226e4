"""One topology on several machines: nodes with data folders of their own, topics on Kafka."""
import json
import os
import re
import signal
import smtplib
import sqlite3
import tempfile
import threading
import unittest
import uuid

import object_store
from object_store import ObjectStore
from service import LIMIT, TOPOLOGY, Service, wait_for

KAFKA = os.environ.get("MAILFLOW_TEST_KAFKA")
NODES = """
nodes:
  box: {gateways: all, stages: [store, index, notify]}
  check: {stages: [validate, spam-scan, virus-scan]}
"""


def spread_topology(folder, more=""):
    """The shipped topology, its first stage on nodes of its own: it asks for no recipients there."""
    text = open(TOPOLOGY).read().replace("stages:\n  store:", "stages:\n  validate: {check-recipients: false}\n  store:")
    path = os.path.join(folder, f"topology-{uuid.uuid4().hex[:6]}.yaml")
    with open(path, "w") as file:
        file.write(text + NODES + more)
    return path


def deliver(service, first, count, accepted, size=40):
    with smtplib.SMTP(*service.smtp, timeout=LIMIT) as client:
        client.ehlo("c.org")
        for number in range(first, first + count):
            client.mail("bob@example.net")
            client.rcpt("alice@example.com")
            code, text = client.data(f"Subject: {number}\r\n\r\n".encode() + b"0123456789\r\n" * size)
            if code == 250:
                accepted[text.decode().split()[-1]] = number


@unittest.skipUnless(
    KAFKA, "no Kafka: name one by MAILFLOW_TEST_KAFKA=host:port, or have ../shared/kafka and run Scripts/test")
@unittest.skipUnless(object_store.WEED, object_store.HOW_TO_GET_IT)
class NodeTests(unittest.TestCase):
    def setUp(self):
        self.store = ObjectStore()
        self.store.__enter__()
        self.addCleanup(self.store.__exit__)
        self.folder = tempfile.TemporaryDirectory(prefix="mailflow-nodes-")
        self.addCleanup(self.folder.cleanup)
        name = "mail" + uuid.uuid4().hex[:8]
        self.settings = [f"broker=kafka://{KAFKA}", f"name={name}", "defaults.partitions=4", *self.store.settings]
        self.topology = spread_topology(self.folder.name)

    def node(self, topology=None, settings=()):
        service = Service(topology=topology or self.topology, settings=[*self.settings, *settings])
        self.addCleanup(service.folder.cleanup)
        self.addCleanup(service.kill)
        return service

    def owners(self, service, stage):
        rows = json.loads(service.command("lag", "--json").stdout)["topics"]
        row = next(row for row in rows if row["stage"] == stage and row["kind"] == "ready")
        return {member["name"]: member["partitions"] for member in row["members"]}

    def test_two_workers_share_a_stage_and_one_takes_over_from_the_other(self):
        box, one, two = self.node(), self.node(), self.node()
        token = box.add_user("alice@example.com")
        box.start("run", "--node", "box")
        one.start("run", "--node", "check")
        two.start("run", "--node", "check")
        self.assertEqual((one.ready["listen"], two.ready["listen"]), ({}, {}))
        wait_for("both nodes to have a part of it", lambda: [2, 2] == sorted(map(len, self.owners(box, "validate").values())))
        self.assertIn("validate", box.command("lag", "--members").stdout)

        accepted = {}
        senders = [threading.Thread(target=deliver, args=(box, first, 50, accepted)) for first in range(0, 200, 50)]
        for sender in senders:
            sender.start()
        wait_for("some mail", lambda: len(accepted) > 40)
        for pid in one.children().values():
            os.kill(pid, signal.SIGSTOP)  # as dead as the machine, for the others
        os.kill(one.process.pid, signal.SIGKILL)
        for sender in senders:
            sender.join(LIMIT)
        self.assertEqual(len(accepted), 200)
        wait_for("everything to arrive", lambda: len(box.messages(token)) >= 200, 120)
        self.assertEqual(sorted(m["id"] for m in box.messages(token)), sorted(accepted))
        wait_for("the other node to have all of it", lambda: [4] == list(map(len, self.owners(box, "validate").values())))
        self.assertEqual((two.stop(), box.stop()), (0, 0))

    def test_nodes_that_do_not_fit_together_are_refused(self):
        box, other = self.node(), self.node()
        box.start("run", "--node", "box")
        # The mailboxes are on one node.
        result = other.command("run", "--node", "box")
        self.assertEqual(result.returncode, 78, result.stderr)
        self.assertRegex(result.stderr, r"needs the data folder.*which is on node ")
        # Another order of stages on another node would make mail miss a step.
        result = other.command("run", "--node", "check", "--set", "defaults.retry=[1s]")
        self.assertEqual(result.returncode, 78, result.stderr)
        self.assertRegex(result.stderr, r"differs from epoch 1, which \S+ runs")
        self.assertRegex(result.stderr, r"\+ stage inbound 1 validate.*retry 1s")
        self.assertEqual(box.stop(), 0)
        # Alone, it makes the next epoch.
        other.settings.append("defaults.retry=[1s]")
        other.start("run", "--node", "check")
        self.assertIn('"epoch":"2"', "".join(other.errors))
        self.assertEqual(other.stop(), 0)


class NodeCheckTests(unittest.TestCase):
    def check(self, nodes, *settings):
        with tempfile.TemporaryDirectory(prefix="mailflow-nodes-") as folder:
            path = os.path.join(folder, "topology.yaml")
            with open(path, "w") as file:
                file.write(open(TOPOLOGY).read() + nodes)
            with Service(topology=path, settings=settings) as service:
                return service.command("check").stderr

    def test_check_says_what_cannot_be_spread(self):
        errors = self.check("nodes: {box: {gateways: all, stages: [store, index]}, other: {stages: [validate, notify]}}")
        self.assertRegex(errors, r"`nodes` spreads the topology over machines, but `broker` is embedded")
        self.assertIn("content too large for a topic would be in a folder of one machine", errors)
        self.assertRegex(errors, r":\d+:\d+: error: node `other` runs stage `inbound.validate`.*need the data folder")
        errors = self.check("nodes: {box: {gateways: [web], stages: [stor]}}", "broker=kafka://127.0.0.1:9")
        self.assertIn("did you mean `store`?", errors)
        self.assertIn("no node runs gateway `smtp`, stage `inbound.validate`", errors)


if __name__ == "__main__":
    unittest.main()
