"""Stages that are tried while the client waits: what they reject is a 5xx and no dead letter, and they cannot hurt the gateways."""
import json
import os
import smtplib
import time
import unittest

from service import BINARY, LIMIT, TOPOLOGY, Service, wait_for

TESTBED = os.path.join(os.path.dirname(BINARY), "mailflow-testbed")


def send(service, content):
    """The answer to a message for alice."""
    with smtplib.SMTP(*service.smtp, timeout=LIMIT) as client:
        client.ehlo("c.org")
        client.mail("a@b.org")
        assert client.rcpt("alice@example.com")[0] == 250
        code, text = client.data(content)
        return code, text.decode()


def dead(service):
    return json.loads(service.command("dead", "list", "--json").stdout)["groups"]


class BeforeAcceptTests(unittest.TestCase):
    def test_what_validate_rejects_is_refused(self):
        settings = ["flows.inbound.before-accept=[validate]", "stages.validate.max-size=16KiB"]
        with Service(settings=settings) as service:
            token = service.add_user("alice@example.com")
            service.start()
            loop = b"Received: by x; Tue, 24 Nov 2026 09:30:00 +0100\r\n" * 60
            for content, answer in [
                (loop + b"Subject: x\r\n\r\n", (554, "5.4.6 ")), (b"not a header\r\n\r\nx\r\n", (550, "5.6.0 ")),
                (b"Subject: x\r\n\r\n" + b"x" * 70 * 300 + b"\r\n", (552, "5.3.4 ")),
            ]:
                code, text = send(service, content)
                self.assertEqual((code, text[:6]), answer, text)
            self.assertEqual(send(service, b"Subject: good\r\n\r\nx\r\n")[0], 250)
            wait_for("the good mail", lambda: [m["subject"] for m in service.messages(token)] == ["good"])
            self.assertEqual(dead(service), [])
            self.assertEqual(service.stop(), 0)

    def test_what_cannot_be_tried_is_not(self):
        with Service(settings=["flows.inbound.before-accept=[store]"]) as service:
            result = service.command("check")
            self.assertEqual(result.returncode, 78, result.stderr)
            self.assertIn("stage `store` cannot be tried before accepting: it does more than judge", result.stderr)

    @unittest.skipUnless(os.path.exists(TESTBED), "needs mailflow-testbed: swift build --build-tests")
    def test_a_stage_that_misbehaves(self):
        """One that hangs costs its client five seconds; one that takes the gateways down does so once. Both are the workers'."""
        with Service(binary=TESTBED) as service:
            service.topology = os.path.join(service.data, "topology.yaml")
            with open(service.topology, "w") as file:
                file.write("""
version: 1
gateways: {smtp: {}, web: {}}
domains: [example.com]
flows: {inbound: {from: smtp, stages: [trouble, store], before-accept: [trouble]}}
stages: {trouble: {timeout: 2s, retry: [1s]}}
""")
            token = service.add_user("alice@example.com")
            service.start()
            gateways = service.children()["gateways"]
            started = time.monotonic()
            self.assertEqual(send(service, b"Subject: x\r\n\r\ntrouble: hang\r\n")[0], 250)
            self.assertGreater(time.monotonic() - started, 4.5)
            self.assertEqual(send(service, b"Subject: one\r\n\r\nfine\r\n")[0], 250)
            self.assertEqual(service.children()["gateways"], gateways)
            with self.assertRaises((smtplib.SMTPServerDisconnected, OSError)):
                send(service, b"Subject: x\r\n\r\ntrouble: trap\r\n")

            def again():
                try:
                    return send(service, b"Subject: x\r\n\r\ntrouble: trap\r\n")[0] == 250
                except (OSError, smtplib.SMTPException):
                    return False  # the gateways are not back yet

            wait_for("the client that tries again", again)
            self.assertEqual(send(service, b"Subject: two\r\n\r\nfine\r\n")[0], 250)
            wait_for("the others", lambda: {m["subject"] for m in service.messages(token)} >= {"one", "two"})
            self.assertTrue(any("took the gateways down" in line for line in service.errors))
            # As with every stage that crashes: the message is a dead letter, and the reason says so.
            wait_for("the dead letter", lambda: "crash" in [group["reason"] for group in dead(service)])


if __name__ == "__main__":
    unittest.main()
