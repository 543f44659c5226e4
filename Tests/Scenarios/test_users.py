"""People with a mailbox come and go while the service runs."""
import json
import os
import pty
import smtplib
import subprocess
import unittest

from service import LIMIT, Service, wait_for


class UserTests(unittest.TestCase):
    def test_users_come_and_go(self):
        with Service() as service:
            token = service.add_user("alice@example.com")
            other = service.add_user("bob@example.com")
            service.start()
            self.send(service, ["alice@example.com", "bob@example.com"], b"Subject: shared\r\n\r\nfor both\r\n")
            self.send(service, ["alice@example.com"], b"Subject: alone\r\n\r\nunmistakable\r\n")
            wait_for("the mail", lambda: (len(service.messages(token)), len(service.messages(other))) == (2, 1))
            wait_for("the index", lambda: service.json("/v1/messages?q=unmistakable", token)["messages"])

            users = json.loads(service.command("user", "list", "--json").stdout)["users"]
            self.assertEqual([(u["address"], u["messages"], u["tokens"]) for u in users],
                             [("alice@example.com", 2, 1), ("bob@example.com", 1, 1)])
            self.assertIn("alice@example.com", service.command("user", "list").stdout)

            # Nobody is asked by accident: without a terminal and without --yes, nothing happens.
            refused = service.command("user", "remove", "alice@example.com", stdin=subprocess.DEVNULL)
            self.assertEqual((refused.returncode, "--yes" in refused.stderr), (65, True), refused.stderr)
            dry = json.loads(service.command("user", "remove", "alice@example.com", "--dry-run", "--json").stdout)
            self.assertEqual((dry["removed"], dry["messages"], dry["contentFreed"]), (False, 2, 1))
            self.assertEqual(len(service.messages(token)), 2)

            self.assertEqual(self.at_terminal(service, "no\n"), 65)
            self.assertEqual(len(service.messages(token)), 2)
            self.assertEqual(self.at_terminal(service, "alice@example.com\n"), 0)

            self.assertEqual(service.get("/v1/messages", token)[0], 401)
            self.assertEqual([m["subject"] for m in service.messages(other)], ["shared"])
            with smtplib.SMTP(*service.smtp, timeout=LIMIT) as client:
                client.ehlo("c.org")
                client.mail("a@b.org")
                self.assertEqual(client.rcpt("alice@example.com")[0], 550)
            self.assertEqual(service.command("user", "remove", "alice@example.com", "--yes").returncode, 65)
            users = json.loads(service.command("user", "list", "--json").stdout)["users"]
            self.assertEqual([u["address"] for u in users], ["bob@example.com"])

            # A namesake finds nothing of the one before, neither listed nor by search.
            again = service.add_user("alice@example.com")
            self.assertEqual(service.messages(again), [])
            self.assertEqual(service.json("/v1/messages?q=unmistakable", again)["messages"], [])
            removed = json.loads(service.command("user", "remove", "bob@example.com", "--yes", "--json").stdout)
            self.assertEqual((removed["removed"], removed["messages"], removed["contentFreed"]), (True, 1, 1))
            self.assertEqual(service.stop(), 0)

    def send(self, service, recipients, content):
        with smtplib.SMTP(*service.smtp, timeout=LIMIT) as client:
            client.ehlo("c.org")
            client.sendmail("a@b.org", recipients, content)

    def at_terminal(self, service, answer):
        """`user remove` by a person, who answers; the exit code."""
        mine, theirs = pty.openpty()
        process = subprocess.Popen(
            [service.binary, "user", "remove", "alice@example.com", *service.arguments()],
            stdin=theirs, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        os.close(theirs)
        self.assertIn("will be removed for good", process.stderr.readline())
        os.write(mine, answer.encode())
        process.stderr.read()
        process.stderr.close()
        os.close(mine)
        return process.wait(LIMIT)


if __name__ == "__main__":
    unittest.main()
