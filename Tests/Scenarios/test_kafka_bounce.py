"""Exactly once between topics, while brokers, workers and the feeder are stopped, killed and frozen in turn.

SEED= repeats a run's choices, MESSAGES= and RATE= (a second) make it longer, STORM=seconds has workers join and leave
every few seconds for so long. `make torture-kafka` runs the long form."""
import os
import random
import unittest

from kafka_bounce import BINARY, Bounce, Process
from kafka_cluster import HOW_TO_GET_IT, IS_THERE, Kafka

# A worker that held on to what it has passed on would be far beyond this before long.
MEMORY = 400
# Seconds that a short test may take.
LIMIT = 120


@unittest.skipUnless(IS_THERE, HOW_TO_GET_IT)
@unittest.skipUnless(os.access(BINARY, os.X_OK), "no kafka-bounce: swift build --build-tests")
class KafkaBounceTests(unittest.TestCase):
    def test_each_message_ends_once(self):
        seed = int(os.environ.get("SEED") or random.randrange(1 << 30))
        storm = int(os.environ.get("STORM") or 0)
        print()
        bounce = Bounce(
            seed, int(os.environ.get("MESSAGES") or 2000), int(os.environ.get("RATE") or 100),
            workers=5 if storm else 3, storm=storm)
        try:
            problems = bounce.run()
        finally:
            bounce.report()
        self.assertEqual(problems, [])
        self.assertLess(bounce.memory, MEMORY)

    def test_none_is_sent_again_because_another_is_late(self):
        lines = []
        # A frozen broker stays the leader of its partitions.
        with Kafka("--set", "broker.session.timeout.ms=60000", brokers=2) as kafka:
            words = [str(kafka.pid(number)) for number in (1, 2)]
            process = Process(["late", kafka.servers, "bounce", str(random.randrange(1 << 30)), *words], lines.append, None)
            process.reader.join(LIMIT)
            code = process.end()
        print("\nlate:", *lines)
        self.assertEqual(code, 0, lines)


if __name__ == "__main__":
    unittest.main()
