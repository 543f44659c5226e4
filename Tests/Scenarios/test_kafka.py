"""The same pipeline with its topics on Kafka."""
import json
import os
import shutil
import signal
import smtplib
import subprocess
import threading
import unittest
import uuid

from service import LIMIT, PASSED, Service, wait_for

KAFKA = os.environ.get("MAILFLOW_TEST_KAFKA")


@unittest.skipUnless(
    KAFKA, "no Kafka: name one by MAILFLOW_TEST_KAFKA=host:port, or have ../shared/kafka and run Scripts/test")
class KafkaTests(unittest.TestCase):
    def service(self):
        # A name of its own: the broker keeps what earlier runs left.
        name = "mail" + uuid.uuid4().hex[:8]
        return Service(settings=[f"broker=kafka://{KAFKA}", f"name={name}", "defaults.partitions=4"])

    def test_mail_through_kafka_with_a_worker_killed(self):
        with self.service() as service:
            token = service.add_user("alice@example.com")
            service.start()
            accepted = {}

            def send(first):
                with smtplib.SMTP(*service.smtp, timeout=LIMIT) as client:
                    client.ehlo("c.org")
                    for number in range(first, first + 50):
                        client.mail("bob@example.net")
                        client.rcpt("alice@example.com")
                        body = b"0123456789\r\n" * (25_000 if number % 25 == 0 else 40)
                        code, text = client.data(f"Subject: {number}\r\n\r\n".encode() + body)
                        self.assertEqual(code, 250, text)
                        accepted[text.decode().split()[-1]] = number

            senders = [threading.Thread(target=send, args=(first,)) for first in range(0, 200, 50)]
            for sender in senders:
                sender.start()
            wait_for("some mail", lambda: len(accepted) > 40)
            os.kill(service.children()["worker"], signal.SIGKILL)
            for sender in senders:
                sender.join(LIMIT)
            self.assertEqual(len(accepted), 200)
            wait_for("everything to arrive", lambda: len(service.messages(token)) >= 200, 120)
            stored = [message["id"] for message in service.messages(token)]
            self.assertEqual(sorted(stored), sorted(accepted))
            wait_for("every stage to be done", lambda: not service.waiting())
            large = next(name for name, number in accepted.items() if number == 25)
            self.assertIn(b"0123456789\r\n" * 25_000, service.raw(large, token))
            # A busy machine may find a message slow.
            self.assertEqual([event for event in service.timeline(large) if event[0] != "slow"], PASSED)
            self.assertEqual(service.stop(), 0)

    def deliver(self, service, count, body=b"hello\r\n"):
        accepted = {}
        with smtplib.SMTP(*service.smtp, timeout=LIMIT) as client:
            client.ehlo("c.org")
            for number in range(count):
                client.mail("bob@example.net")
                client.rcpt("alice@example.com")
                code, text = client.data(f"Subject: {number}\r\n\r\n".encode() + body)
                self.assertEqual(code, 250, text)
                accepted[text.decode().split()[-1]] = number
        return accepted

    @unittest.skipUnless(shutil.which("kcat"), "no kcat: Scripts/setup test installs it")
    def test_other_tools_can_read_it(self):
        with self.service() as service:
            service.settings.append("defaults.partitions=1")
            token = service.add_user("alice@example.com")
            service.start()
            accepted = self.deliver(service, 3)
            wait_for("everything to arrive", lambda: len(service.messages(token)) == 3)
            name = next(setting[5:] for setting in service.settings if setting.startswith("name="))
            result = subprocess.run(
                ["kcat", "-b", KAFKA, "-C", "-q", "-t", f"{name}.inbound.store", "-o", "beginning", "-e",
                 "-f", "%k\t%h\t%s\n--\n"], capture_output=True, text=True, timeout=LIMIT)
            self.assertEqual(result.returncode, 0, result.stderr)
            records = result.stdout.split("\n--\n")[:-1]
            self.assertEqual(len(records), 3)
            seen = set()
            for record in records:
                key, headers, value = record.split("\t", 2)
                headers = dict(header.split("=", 1) for header in headers.split(",") if "=" in header)
                self.assertEqual(headers["ce_specversion"], "1.0")
                self.assertEqual(headers["content-type"], "message/rfc822")
                self.assertIn("traceparent", headers)
                seen.add(headers["ce_id"])
                self.assertRegex(value, r"Subject: \d\r?\n\r?\nhello")
            self.assertEqual(seen, set(accepted))
            self.assertEqual(service.stop(), 0)

    def test_dead_letters(self):
        with self.service() as service:
            service.settings.append("stages.validate.max-size=2KiB")
            token = service.add_user("alice@example.com")
            service.start()
            letters = self.deliver(service, 3, b"0123456789\r\n" * 1000)
            wait_for("dead letters", lambda: len(self.dead(service)) == 3)
            self.assertEqual({letter["id"] for letter in self.dead(service)}, set(letters))
            one, two, _ = sorted(letters)
            shown = service.command("dead", "show", one)
            self.assertEqual(shown.returncode, 0, shown.stderr)
            self.assertIn("2048 are allowed", shown.stdout)
            self.assertEqual(service.command("dead", "discard", one).returncode, 0)
            self.assertEqual({letter["id"] for letter in self.dead(service)}, set(letters) - {one})
            # On its way again, it fails again.
            self.assertEqual(service.command("dead", "replay", two).returncode, 0)
            wait_for("it to be back", lambda: {letter["id"] for letter in self.dead(service)} == set(letters) - {one})
            self.assertEqual(service.messages(token), [])
            self.assertEqual(service.stop(), 0)

    def dead(self, service):
        return json.loads(service.command("dead", "list", "--json").stdout)["records"]

    def test_a_broker_that_is_not_there(self):
        with Service(settings=["broker=kafka://127.0.0.1:9"]) as service:
            result = service.command("check", "--connect")
            self.assertEqual(result.returncode, 69, result.stderr)
            self.assertIn("127.0.0.1:9", result.stderr)


if __name__ == "__main__":
    unittest.main()
