"""More partitions for a stopped deployment, with mail that waits in it."""
import json
import os
import unittest
import uuid

from service import Service, wait_for
from test_nodes import KAFKA, deliver


class GrowTests(unittest.TestCase):
    def grow(self, broker):
        name = "mail" + uuid.uuid4().hex[:8]
        settings = [*broker, f"name={name}", "stages.validate.order=key", "defaults.partitions=2"]
        with Service(settings=settings) as service:
            def grow_to(partitions, *words):
                return Service(data=service.data, settings=settings[:-1] + [f"defaults.partitions={partitions}"]).command(
                    "grow", *words)
            token = service.add_user("alice@example.com")
            accepted = {}
            service.start("run", "--gateways", "all")
            deliver(service, 0, 30, accepted)
            self.assertEqual(grow_to(5).returncode, 75)  # it runs
            self.assertEqual(service.stop(), 0)

            same = service.command("grow")
            self.assertEqual((same.returncode, same.stdout.strip()), (0, "every stage has the partitions that the topology says"))
            fewer = grow_to(1)
            self.assertEqual(fewer.returncode, 78, fewer.stderr)
            self.assertIn("a topic never gets fewer", fewer.stderr)
            unknown = service.command("grow", "--stage", "stor")
            self.assertEqual(unknown.returncode, 64, unknown.stderr)
            self.assertIn("did you mean `store`?", unknown.stderr)

            service.settings[-1] = "defaults.partitions=5"
            refused = service.command("up")
            self.assertEqual(refused.returncode, 78, refused.stderr)
            self.assertRegex(refused.stderr, r"partitions.*5(.|\n)*`grow`")
            dry = service.command("grow", "--dry-run", "--json")
            stages = {stage["stage"]: stage for stage in json.loads(dry.stdout)["stages"]}
            self.assertEqual(len(stages), 6)
            self.assertEqual(stages["validate"]["waiting"], 30)
            self.assertEqual({topic["partitions"] for topic in stages["validate"]["topics"]}, {2})
            self.assertIn(f"{name}.inbound.validate.retry.10s", [topic["topic"] for topic in stages["validate"]["topics"]])
            ordered = service.command("grow")
            self.assertEqual(ordered.returncode, 75, ordered.stderr)
            self.assertIn("30 in inbound.validate (order: key)", ordered.stderr)
            done = service.command("grow", "--let-overtake")
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertIn("30 waiting messages stay where they are, and may be overtaken", done.stdout)

            service.start()
            deliver(service, 100, 30, accepted)
            wait_for("everything to arrive", lambda: len(service.messages(token)) >= 60, 120)
            self.assertEqual(sorted(m["id"] for m in service.messages(token)), sorted(accepted))
            rows = json.loads(service.command("lag", "--json").stdout)["topics"]
            row = next(row for row in rows if row["stage"] == "validate" and row["kind"] == "ready")
            self.assertEqual([member["partitions"] for member in row["members"]], [[0, 1, 2, 3, 4]])
            if broker:
                # A node with a folder of its own is told by the group.
                with Service(settings=settings[:-1] + ["defaults.partitions=6"]) as other:
                    live = other.command("grow")
                    self.assertEqual(live.returncode, 75, live.stderr)
                    self.assertRegex(live.stderr, r"mailflow: \S+ still works")
            self.assertEqual(service.stop(), 0)

    def test_embedded(self):
        self.grow([])

    @unittest.skipUnless(
        KAFKA, "no Kafka: name one by MAILFLOW_TEST_KAFKA=host:port, or have ../shared/kafka and run Scripts/test")
    def test_kafka(self):
        self.grow([f"broker=kafka://{KAFKA}"])


if __name__ == "__main__":
    unittest.main()
