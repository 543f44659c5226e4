"""`mailflow run`: a part of a deployment at a time."""
import smtplib
import unittest

from service import Service, wait_for


class RunTests(unittest.TestCase):
    def test_mail_waits_for_stages_that_run_later(self):
        with Service() as service:
            token = service.add_user("ann@example.com")
            service.start("run", "--gateways", "smtp")
            self.assertEqual(list(service.ready["listen"]), ["smtp"])
            self.assertEqual(list(service.children()), ["gateways"])
            with smtplib.SMTP(*service.smtp, timeout=30) as client:
                for number in range(20):
                    client.sendmail("bob@example.net", ["ann@example.com"], f"Subject: {number}\r\n\r\nHello.\r\n")
            self.assertEqual(service.waiting(), {"mail.inbound.validate": 20})
            # Found by the name that people know, though no stage has seen it yet.
            with smtplib.SMTP(*service.smtp, timeout=30) as client:
                client.sendmail("bob@example.net", ["ann@example.com"], "Message-ID: <early@x>\r\nSubject: 20\r\n\r\nHi.\r\n")
            self.assertEqual(service.command("trace", "<early@x>").returncode, 0)
            self.assertEqual(service.stop(), 0)

            service.start("run", "--stages", "inbound.validate", "--gateways", "web")
            wait_for("validate to be done", lambda: service.waiting() == {"mail.inbound.spam-scan": 21})
            self.assertEqual(service.messages(token), [])
            # Ready means: what runs here is well.
            self.assertEqual(service.get("/readyz")[0], 200)
            self.assertEqual(service.stop(), 0)

            service.start("run", "--stages", "all", "--gateways", "web")
            wait_for("the mail to arrive", lambda: len(service.messages(token)) == 21)
            wait_for("every stage to be done", lambda: not service.waiting())
            self.assertEqual(service.stop(), 0)

    def test_parts_that_are_not_there(self):
        with Service() as service:
            for words, hint in [
                ([], "`mailflow up` runs everything"), (["--stages", "vallidate"], "did you mean `validate`?"),
                (["--gateways", "imap"], "it has smtp, web"),
            ]:
                result = service.command("run", *words)
                self.assertEqual(result.returncode, 64, result.stderr)
                self.assertIn(hint, result.stderr)
