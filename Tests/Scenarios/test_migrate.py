"""A stopped deployment's waiting mail, dead letters and timelines move to another broker, each once."""
import json
import os
import signal
import subprocess
import unittest
import uuid

from service import PASSED, Service, wait_for
from test_nodes import KAFKA, deliver


@unittest.skipUnless(
    KAFKA, "no Kafka: name one by MAILFLOW_TEST_KAFKA=host:port, or have ../shared/kafka and run Scripts/test")
class MigrateTests(unittest.TestCase):
    def test_what_waits_moves_to_kafka_and_back(self):
        name = "mail" + uuid.uuid4().hex[:8]
        with Service(settings=[f"name={name}"]) as service:
            kafka = f"kafka://{KAFKA}"
            there = [f"broker={kafka}", "defaults.partitions=4"]
            token = service.add_user("alice@example.com")
            # Some mail ends, some becomes dead letters, and what comes then waits.
            service.start()
            ended, dead, waiting = {}, {}, {}
            deliver(service, 0, 5, ended)
            wait_for("mail to be stored", lambda: len(service.messages(token)) == 5)
            service.settings += ["stages.validate.max-size=2KiB"]
            self.assertEqual(service.stop(), 0)
            service.start()
            deliver(service, 100, 3, dead, size=1000)
            wait_for("dead letters", lambda: len(self.dead(service)) == 3)
            self.assertEqual(service.stop(), 0)
            service.start("run", "--gateways", "all")
            deliver(service, 200, 600, waiting)
            self.assertEqual(service.stop(), 0)

            dry = json.loads(service.command("migrate", "--from", "embedded", "--to", kafka, "--dry-run", "--json").stdout)
            counts = {topic["topic"]: topic["waiting"] for topic in dry["topics"]}
            self.assertEqual(counts[f"{name}.inbound.validate"], 600)
            self.assertEqual(counts[f"{name}.inbound.validate.dead"], 3)

            # Killed under way, and gone on with.
            service.settings += there[1:]
            words = [service.binary, "migrate", "--from", "embedded", "--to", kafka, *service.arguments()]
            for _ in range(3):
                process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                try:
                    process.wait(1.5)
                except subprocess.TimeoutExpired:
                    process.send_signal(signal.SIGKILL)
                    process.wait()
            result = service.command("migrate", "--from", "embedded", "--to", kafka)
            self.assertEqual(result.returncode, 0, result.stderr)
            refused = service.command("up")
            self.assertEqual(refused.returncode, 78, refused.stderr)
            self.assertIn(f"was moved to {kafka}", refused.stderr)

            service.settings += there
            service.start()
            wait_for("everything to arrive", lambda: len(service.messages(token)) >= 605, 120)
            stored = [message["id"] for message in service.messages(token)]
            self.assertEqual(sorted(stored), sorted({**ended, **waiting}))
            self.assertEqual(sorted(letter["id"] for letter in self.dead(service)), sorted(dead))
            self.assertEqual(service.timeline(next(iter(ended))), PASSED)
            # It works on there: a setting mended, and the letters are sent on their way again.
            self.assertEqual(service.stop(), 0)
            service.settings.remove("stages.validate.max-size=2KiB")
            service.start()
            self.assertEqual(service.command("dead", "replay", "--all").returncode, 0)
            wait_for("the letters to arrive", lambda: len(service.messages(token)) == 608)
            wait_for("every stage to be done", lambda: not service.waiting())
            self.assertEqual(service.command("migrate", "--from", kafka, "--to", "embedded").returncode, 75)  # it runs
            self.assertEqual(service.stop(), 0)

            back = service.command("migrate", "--from", kafka, "--to", "embedded", "--json")
            self.assertEqual(back.returncode, 0, back.stderr)
            waits = [t for t in json.loads(back.stdout)["topics"] if t["moved"] and not t["topic"].endswith((".trace", ".events"))]
            self.assertEqual(waits, [])
            service.settings.remove(there[0])
            service.start()
            deliver(service, 900, 1, waiting)
            wait_for("new mail", lambda: len(service.messages(token)) == 609)
            wait_for("every stage to be done", lambda: not service.waiting())
            # Nothing that was there before came back to life.
            self.assertEqual(service.timeline(next(iter(waiting))), PASSED)
            self.assertEqual(service.stop(), 0)

    def dead(self, service):
        return json.loads(service.command("dead", "list", "--json").stdout)["records"]


if __name__ == "__main__":
    unittest.main()
