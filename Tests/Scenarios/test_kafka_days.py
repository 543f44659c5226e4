"""Bad days of a Kafka of our own: away at the start, restarted, frozen, topics deleted, offsets gone.

KAFKA_LONG=1, as `make torture-kafka` has it, also runs what takes minutes."""
import json
import os
import signal
import smtplib
import socket
import threading
import time
import unittest
import uuid

from kafka_cluster import HOW_TO_GET_IT, IS_THERE, Kafka
from service import LIMIT, Service, wait_for

# What a session may wait for an answer at most: the broker's patience of 10 s, and a machine that is busy.
ANSWER = 40
LONG = unittest.skipUnless(os.environ.get("KAFKA_LONG"), "takes minutes: run by make torture-kafka")


def memory(pid):
    """What is resident, in MB."""
    with open(f"/proc/{pid}/status") as status:
        return next(int(line.split()[1]) // 1024 for line in status if line.startswith("VmRSS"))


class Sender(threading.Thread):
    """Hands in messages until each was accepted; notes what it was told, and how long that took."""

    def __init__(self, service, first, count, size=400, tries=1000):
        super().__init__(daemon=True)
        self.service, self.numbers, self.size, self.tries = service, range(first, first + count), size, tries
        self.accepted, self.codes, self.longest = {}, {}, 0
        self.start()

    def run(self):
        client = None
        for number in self.numbers:
            for _ in range(self.tries):
                try:
                    if client is None:
                        client = smtplib.SMTP(*self.service.smtp, timeout=LIMIT)
                        client.ehlo("c.org")
                    client.mail("bob@example.net")
                    client.rcpt("alice@example.com")
                    began = time.monotonic()
                    code, text = client.data(f"Subject: {number}\r\n\r\n".encode() + b"0123456789\r\n" * (self.size // 12))
                    self.longest = max(self.longest, time.monotonic() - began)
                except (OSError, smtplib.SMTPException):
                    client = None
                    time.sleep(0.1)
                    continue
                self.codes[code] = self.codes.get(code, 0) + 1
                if code == 250:
                    self.accepted[text.decode().split()[-1]] = number
                    break
                time.sleep(0.1)


@unittest.skipUnless(IS_THERE, HOW_TO_GET_IT)
class KafkaDayTests(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.kafka = Kafka()
        cls.kafka.__enter__()
        cls.addClassCleanup(cls.kafka.__exit__)

    def service(self, *settings, on=None):
        name = "mail" + uuid.uuid4().hex[:8]
        service = Service(settings=[f"broker=kafka://{(on or self.kafka).servers}", f"name={name}", "defaults.partitions=2", *settings])
        service.name = name
        self.addCleanup(service.folder.cleanup)
        self.addCleanup(service.kill)
        return service

    def arrived(self, service, token, senders, limit=150):
        """Everything that was accepted has arrived, once, and nothing that was not sent."""
        accepted = {name: number for sender in senders for name, number in sender.accepted.items()}
        missing = lambda: set(accepted) - {message["id"] for message in service.messages(token)}
        try:
            wait_for("what was accepted to arrive", lambda: not missing(), limit)
        except AssertionError as failure:
            trace = "".join(service.command("trace", name).stdout for name in sorted(missing())[:3])
            lines = "".join(line for line in service.errors if '"mail accepted"' not in line)
            lag = service.command("lag", "--json")  # whatever it says: the brokers may be what is wrong
            raise AssertionError(
                f"{failure}\n{len(missing())} missing: {trace}\n{lag.stdout}{lag.stderr}\n{lines[-6000:]}")
        messages = service.messages(token)
        self.assertEqual(len({message["id"] for message in messages}), len(messages))
        # A 451 may have been one too many: whoever tries again may repeat it.
        refused = sum(count for sender in senders for code, count in sender.codes.items() if code != 250)
        self.assertLessEqual(len(messages), len(accepted) + refused)
        return messages

    def states(self, service):
        status, body = service.get("/readyz")
        return status, {stage["stage"]: stage for stage in json.loads(body)["stages"]}

    def test_away_at_the_start(self):
        service = self.service()
        token = service.add_user("alice@example.com")
        self.kafka.run("stop")
        # A command says so at once; the service waits, says so, and goes on by itself.
        began = time.monotonic()
        result = service.command("check", "--connect")
        self.assertEqual(result.returncode, 69, result.stderr)
        self.assertIn(self.kafka.servers, result.stderr)
        self.assertIn("is Kafka running", result.stderr)
        self.assertLess(time.monotonic() - began, ANSWER)
        starting = threading.Thread(target=service.start)
        starting.start()
        wait_for("the service to say that it waits", lambda: "waits for the broker" in "".join(service.errors))
        self.kafka.run("start")
        starting.join(LIMIT)
        self.through(service, token, [Sender(service, first, 40) for first in range(0, 160, 40)])

    def test_a_broker_of_three_and_a_worker_killed_under_mail(self):
        """Not the only one: a cluster that was down as a whole may leave a transaction open for good (docs/kafka.md)."""
        with Kafka(brokers=3) as kafka:
            service = self.service(on=kafka)
            token = service.add_user("alice@example.com")
            service.start()
            senders = [Sender(service, first, 40) for first in range(0, 160, 40)]

            def accepted():
                return sum(len(sender.accepted) for sender in senders)

            wait_for("some mail", lambda: accepted() > 30)
            kafka.run("kill", "1")
            os.kill(service.children()["worker"], signal.SIGKILL)
            before = accepted()
            wait_for("mail to be accepted by the others", lambda: accepted() > before + 10, LIMIT)
            kafka.run("start")
            self.through(service, token, senders)

    def through(self, service, token, senders):
        """All of it is accepted sooner or later, and arrives."""
        for sender in senders:
            sender.join(3 * LIMIT)
            self.assertFalse(sender.is_alive())
            self.assertEqual(len(sender.accepted), 40)
            self.assertLessEqual(set(sender.codes), {250, 451})
            self.assertLess(sender.longest, ANSWER)
        self.arrived(service, token, senders)
        wait_for("every stage to run", lambda: self.states(service)[0] == 200)
        self.settled(service)
        self.assertEqual(service.stop(), 0)

    def test_frozen_senders_are_told_in_time_and_memory_is_bounded(self):
        service = self.service()
        token = service.add_user("alice@example.com")
        service.start()
        size = 200_000
        before = [Sender(service, 0, 20, size)]
        before[0].join(LIMIT)
        self.arrived(service, token, before)
        gateways, usual = service.children()["gateways"], memory(service.children()["gateways"])
        self.kafka.run("freeze", "1")
        try:
            # 40 sessions with messages without end: 200 KB each, tried again at once.
            senders = [Sender(service, 1000 + first, 5, size) for first in range(0, 200, 5)]
            most, end = usual, time.monotonic() + 15
            while time.monotonic() < end:
                most = max(most, memory(gateways))
                time.sleep(0.1)
            self.assertLess(most - usual, 40 + 64 + 3 * 40 * size / 1e6)
            self.assertEqual(sum(len(sender.accepted) for sender in senders), 0)
            wait_for("everybody to be told", lambda: all(sender.codes.get(451) for sender in senders), ANSWER)
        finally:
            self.kafka.run("thaw", "1")
        for sender in senders:
            sender.join(3 * LIMIT)
            self.assertEqual(len(sender.accepted), 5)
            self.assertLessEqual(set(sender.codes), {250, 451})
            self.assertLess(sender.longest, ANSWER)
        self.arrived(service, token, before + senders)
        self.assertEqual(service.stop(), 0)

    def test_topics_that_are_not_as_they_should_be(self):
        service = self.service("topics.replication=1", "topics.segment.bytes=1048576")
        service.start("run", "--gateways", "all")
        self.assertEqual(service.stop(), 0)
        topic = f"{service.name}.inbound.store"
        made = self.kafka.tool("configs", "--entity-type", "topics", "--entity-name", topic, "--describe")
        for setting in ("segment.bytes=1048576", "retention.ms=-1", "cleanup.policy=delete", "message.timestamp.type=LogAppendTime"):
            self.assertIn(setting, made)
        good = service.command("check", "--connect")
        self.assertEqual(good.returncode, 0, good.stderr)
        self.assertIn("warning: the cluster has offsets.retention.minutes 10080", good.stderr)
        # Somebody has Kafka throw waiting mail away.
        self.kafka.tool("configs", "--entity-type", "topics", "--entity-name", topic, "--alter", "--add-config", "retention.ms=1000")
        for words in (["check", "--connect"], ["up"]):
            bad = service.command(*words)
            self.assertEqual(bad.returncode, 78, bad.stderr)
            self.assertIn(f"topic {topic} has retention.ms 1000, and should have -1", bad.stderr)
            self.assertIn(f"--entity-name {topic} --add-config retention.ms=-1", bad.stderr)

    @LONG
    def test_a_topic_that_somebody_deletes(self):
        service = self.service()
        token = service.add_user("alice@example.com")
        service.start()
        before = [Sender(service, 0, 5)]
        before[0].join(LIMIT)
        self.arrived(service, token, before)
        for stage in ("validate", "store"):
            self.kafka.tool("topics", "--delete", "--topic", f"{service.name}.inbound.{stage}")
        after = [Sender(service, 100, 10)]
        wait_for("it to be told of", lambda: any("was deleted while it is in use" in line for line in service.errors), 120)
        after[0].join(3 * LIMIT)
        self.assertEqual(len(after[0].accepted), 10)
        self.assertLessEqual(set(after[0].codes), {250, 451})
        self.arrived(service, token, before + after)
        wait_for("every stage to run", lambda: self.states(service)[0] == 200)
        self.assertEqual(service.stop(), 0)

    @LONG
    def test_a_thousand_partitions(self):
        service = self.service("defaults.partitions=24")
        token = service.add_user("alice@example.com")
        began = time.monotonic()
        service.start()
        made = time.monotonic() - began
        senders = [Sender(service, 0, 50)]
        senders[0].join(LIMIT)
        self.arrived(service, token, senders)
        self.settled(service)
        self.assertEqual(service.stop(), 0)
        began = time.monotonic()
        service.start()
        again = time.monotonic() - began
        senders.append(Sender(service, 100, 50))
        senders[1].join(LIMIT)
        self.arrived(service, token, senders)
        arrived = time.monotonic() - began
        began = time.monotonic()
        lag = service.command("lag", "--json")
        self.assertEqual(lag.returncode, 0, lag.stderr)
        rows = json.loads(lag.stdout)["topics"]
        asked = time.monotonic() - began
        used = memory(service.children()["worker"])
        partitions = 24 * len(rows)
        print(f"{partitions} partitions: made and ready in {made:.1f} s, ready again in {again:.1f} s, 50 messages there "
              f"{arrived:.1f} s after that start; lag in {asked:.1f} s; worker {used} MB")
        self.assertGreater(partitions, 1000)
        self.assertLess(used, 500)
        self.assertEqual(service.stop(), 0)

    def test_at_least_once_repeats_reach_nobody(self):
        service = self.service("guarantee=at-least-once")
        token = service.add_user("alice@example.com")
        service.start()
        senders = [Sender(service, 0, 20)]
        senders[0].join(LIMIT)
        self.arrived(service, token, senders)
        self.settled(service)
        self.assertEqual(service.stop(), 0)
        # What a crash between outputs and progress makes of one message, for all of them: the stages begin again.
        for stage in ("validate", "store"):
            topic = f"{service.name}.inbound.{stage}"
            self.kafka.tool("groups", "--group", topic, "--topic", topic, "--reset-offsets", "--to-earliest", "--execute")
        service.start()
        senders.append(Sender(service, 100, 1))
        senders[1].join(LIMIT)
        self.settled(service)
        self.assertEqual(len(self.arrived(service, token, senders)), 21)
        # They were there again: the topic behind has each of them twice or more.
        ends = self.kafka.tool("get-offsets", "--topic", f"{service.name}.inbound.index")
        self.assertGreaterEqual(sum(int(line.rsplit(":", 1)[1]) for line in ends.split()), 41)
        self.assertEqual(service.stop(), 0)

    def settled(self, service):
        def waiting():
            lag = service.command("lag", "--json")
            if lag.returncode == 69:
                return lag.stderr  # a broker that has made a thousand partitions takes its time to lead them all
            self.assertEqual(lag.returncode, 0, lag.stderr)
            return [topic for topic in json.loads(lag.stdout)["topics"] if topic["records"]]
        wait_for("everything to be settled", lambda: not waiting(), 120)

    def test_an_offset_that_is_gone(self):
        service = self.service("defaults.partitions=1")
        token = service.add_user("alice@example.com")
        service.start("run", "--gateways", "all")
        sender = Sender(service, 0, 10)
        sender.join(LIMIT)
        self.assertEqual(len(sender.accepted), 10)
        self.assertEqual(service.stop(), 0)
        topic = f"{service.name}.inbound.validate"
        service.start()
        first = self.arrived(service, token, [sender])
        self.assertEqual(service.stop(), 0)

        # More comes, and some of it is deleted behind the service's back.
        service.start("run", "--gateways", "all")
        late = Sender(service, 100, 10)
        late.join(LIMIT)
        self.assertEqual(service.stop(), 0)
        offsets = os.path.join(service.data, "offsets.json")
        with open(offsets, "w") as file:
            json.dump({"version": 1, "partitions": [{"topic": topic, "partition": 0, "offset": 15}]}, file)
        self.kafka.tool("delete-records", "--offset-json-file", offsets)
        service.start()
        wait_for("it to be told of", lambda: any("docs/kafka.md says how to go on" in line for line in service.errors))
        def rests():  # it tries again now and then
            status, states = self.states(service)
            return status == 503 and states["validate"]["state"] == "restarting" and states["validate"]["reason"]
        self.assertIn("out of range", wait_for("the stage to rest", rests))
        # Nothing was jumped over.
        self.assertEqual(len(service.messages(token)), len(first))
        self.assertEqual(service.stop(), 0)

        # As the manual has it.
        self.kafka.tool("groups", "--group", topic, "--topic", topic, "--reset-offsets", "--to-earliest", "--execute")
        service.start()
        wait_for("the rest to arrive", lambda: len(service.messages(token)) == len(first) + 5)
        self.assertEqual(service.stop(), 0)


if __name__ == "__main__":
    unittest.main()
