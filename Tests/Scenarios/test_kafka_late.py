"""Brokers that are frozen one after the other: see Tests/KafkaBounce/Late.swift."""
import os
import random
import unittest

from kafka_bounce import BINARY, NO_BINARY, Process
from kafka_cluster import HOW_TO_GET_IT, IS_THERE, Kafka
from service import LIMIT


@unittest.skipUnless(IS_THERE, HOW_TO_GET_IT)
@unittest.skipUnless(os.access(BINARY, os.X_OK), NO_BINARY)
class KafkaLateTests(unittest.TestCase):
    def test_none_is_sent_again_because_another_is_late(self):
        lines = []
        # A frozen broker stays the leader of its partitions.
        with Kafka("--set", "broker.session.timeout.ms=60000", brokers=2) as kafka:
            words = [str(kafka.pid(number)) for number in (1, 2)]
            process = Process(["late", kafka.servers, "bounce", str(random.randrange(1 << 30)), *words], lines.append, None)
            process.reader.join(2 * LIMIT)
            code = process.end()
        print("\nlate:", *lines)
        self.assertEqual(code, 0, lines)


if __name__ == "__main__":
    unittest.main()
