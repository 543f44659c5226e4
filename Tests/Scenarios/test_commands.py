"""The commands of an operator, beside a service that runs."""
import json
import os
import re
import smtplib
import subprocess
import unittest

from service import BINARY, LIMIT, Service, wait_for

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")


class CommandTests(unittest.TestCase):
    def test_an_operator_looks_on(self):
        with Service() as service:
            token = service.add_user("ann@example.com")
            service.start()
            message = b"Message-ID: <one@example.net>\r\nSubject: Hi\r\n\r\nHello.\r\n"
            with smtplib.SMTP(*service.smtp, timeout=LIMIT) as client:
                client.ehlo("c.org")
                client.mail("bob@example.net")
                client.rcpt("ann@example.com")
                code, text = client.data(message)
                self.assertEqual(code, 250)
            id = text.decode().split()[-1]
            wait_for("the message", lambda: len(service.messages(token)) == 1)

            topics = json.loads(service.command("lag", "--json").stdout)["topics"]
            kinds = {topic["kind"] for topic in topics}
            self.assertEqual(kinds, {"ready", "retry", "slow", "suspect", "dead"})
            self.assertEqual(
                set(topics[0]) - {"flow", "members"},
                {"topic", "stage", "kind", "records", "oldestAgeSeconds", "inPerSecond", "outPerSecond", "drainSeconds"})
            self.assertIn("mail.inbound.validate", service.command("lag").stdout)

            by_id = json.loads(service.command("trace", id, "--json").stdout)
            self.assertEqual([event["event"] for event in by_id["events"]][:2], ["accepted", "done"])
            by_message_id = json.loads(service.command("trace", "<one@example.net>", "--json").stdout)
            self.assertEqual(by_message_id["id"], id)

            self.assertEqual(json.loads(service.command("dead", "list", "--json").stdout), {"groups": [], "records": []})
            misspelt = service.command("dead", "replay", "--stage", "stor")
            self.assertEqual((misspelt.returncode, "did you mean `store`?" in misspelt.stderr), (64, True), misspelt.stderr)
            self.assertEqual(service.command("dead", "discard", id).returncode, 65)
            options = subprocess.run([BINARY, "stages"], capture_output=True, text=True, timeout=LIMIT).stdout
            for option in ("slow-budget", "max-hops", "max-recipients", "postmaster"):
                self.assertIn(option, options)
            self.assertEqual(json.loads(service.command("check", "--connect", "--json").stdout)["ok"], True)
            self.assertIn("validate", service.command("graph", "--format", "mermaid").stdout)

            # Without the topology: the data folder knows it.
            result = subprocess.run(
                [BINARY, "lag", "--json", "--data", service.data], capture_output=True, text=True, timeout=LIMIT)
            self.assertEqual(len(json.loads(result.stdout)["topics"]), len(topics))
            self.assertEqual(service.stop(), 0)
            self.assertEqual(json.loads(service.command("trace", id, "--json").stdout)["id"], id)

    def test_a_data_folder_that_is_none_is_named(self):
        topology = os.path.join(ROOT, "topology.yaml")
        good = subprocess.run([BINARY, "check", "--topology", topology], capture_output=True, text=True, timeout=LIMIT)
        self.assertRegex(good.stdout, r": good: 1 flow, 6 stages, 2 gateways\n$")
        for folder, code, words in [(__file__, 73, "is a file"), ("", 64, "has no name")]:
            result = subprocess.run(
                [BINARY, "up", "--topology", topology, "--data", folder], capture_output=True, text=True, timeout=LIMIT)
            self.assertEqual((result.returncode, words in result.stderr), (code, True), result.stderr)

    def test_every_command_teaches(self):
        shown = subprocess.run([BINARY, "--help"], capture_output=True, text=True, timeout=LIMIT).stdout
        commands = re.findall(r"^  ([a-z]+)  ", shown, re.MULTILINE)
        for command in ["up", "run", "check", "graph", "stages", "lag", "dead", "trace", "user"]:
            self.assertIn(command, commands)
        for command in commands:
            result = subprocess.run([BINARY, command, "--help"], capture_output=True, text=True, timeout=LIMIT)
            self.assertEqual(result.returncode, 0, command)
            self.assertIn("mailflow " + command, result.stdout)

    def complete(self, *words):
        """What bash offers for the last word."""
        script = """
            source <("$0" completion bash)
            COMP_WORDS=(mailflow "$@"); COMP_CWORD=$#
            _mailflow
            printf '%s\\n' "${COMPREPLY[@]}"
        """
        result = subprocess.run(
            ["bash", "-c", script, BINARY, *words], capture_output=True, text=True, timeout=LIMIT, check=True)
        return result.stdout.split()

    def test_bash_completes(self):
        self.assertEqual(self.complete("de"), ["dead"])
        self.assertEqual(self.complete("dead", "re"), ["replay"])
        self.assertEqual(self.complete("lag", "--w"), ["--watch"])
        self.assertEqual(self.complete("dead", "list", "--re"), ["--reason"])
        self.assertNotIn("child", self.complete(""))


if __name__ == "__main__":
    unittest.main()
