"""What goes wrong on a bad day: each its own clear error, and nothing accepted is lost."""
import os
import shutil
import signal
import smtplib
import socket
import sqlite3
import subprocess
import tempfile
import unittest

from service import BINARY, LIMIT, TOPOLOGY, Service, wait_for


class BadDays(unittest.TestCase):
    def up(self, data, *words, topology=TOPOLOGY, user=None):
        """Runs `up`, which has to fail, and returns its exit code and standard error."""
        command = [BINARY, "up", "--topology", topology, "--data", data, "--set", "gateways.smtp.listen=127.0.0.1:0",
                   "--set", "gateways.web.listen=127.0.0.1:0", *words]
        result = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT, user=user)
        self.assertEqual(result.stdout, "")
        return result.returncode, result.stderr

    def folder(self):
        folder = tempfile.TemporaryDirectory(prefix="mailflow-")
        self.addCleanup(folder.cleanup)
        return folder.name

    def file(self, text):
        path = os.path.join(self.folder(), "topology.yaml")
        with open(path, "w") as file:
            file.write(text)
        return path

    def test_nothing_outlives_its_supervisor(self):
        """A child whose supervisor died before the child could ask to die with it; and what holds the folder."""
        with Service() as service:
            service.start()
            for name in ("gateways", "worker"):
                pid, held = service.children()[name], []
                for descriptor in os.listdir(f"/proc/{pid}/fd"):
                    try:
                        held.append(os.readlink(f"/proc/{pid}/fd/{descriptor}"))
                    except FileNotFoundError:
                        pass  # closed meanwhile
                self.assertIn(os.path.join(service.data, "lock"), held, name)
            self.assertEqual(service.stop(), 0)
            reader, writer = os.pipe()
            os.close(reader)
            child = subprocess.run(
                ["bash", "-c", f'exec "$0" child worker --data "$1" 3>&{writer}', service.binary, service.data],
                pass_fds=[writer], capture_output=True, timeout=LIMIT)
            os.close(writer)
            self.assertEqual(child.returncode, 75)
            by_hand = subprocess.run(
                [service.binary, "child", "worker", "--data", service.data], capture_output=True, text=True, timeout=LIMIT)
            self.assertEqual(by_hand.returncode, 64)

    def test_a_crash_on_the_way_out_is_said(self):
        with Service() as service:
            service.start()
            worker = service.children()["worker"]
            os.kill(worker, signal.SIGSTOP)
            service.process.send_signal(signal.SIGTERM)
            wait_for("the gateways to end", lambda: "gateways" not in service.children())
            os.kill(worker, signal.SIGUSR1)  # one that ends it without a stack to print
            os.kill(worker, signal.SIGCONT)
            self.assertEqual(service.stop(may_crash=True), 0)
            said = [line for line in service.errors if "crashed while it stopped" in line]
            self.assertEqual(len(said), 1, service.errors)
            self.assertIn('"process":"worker"', said[0])

    def test_the_folder_of_another_topology(self):
        with Service() as service:
            service.start()
            self.assertEqual(service.stop(), 0)
            code, error = self.up(service.data, "--set", "name=other")
            self.assertEqual(code, 78)
            self.assertIn("holds the topics of `mail`", error)
            self.assertIn("write `name: mail`", error)

    def test_looking_makes_nothing(self):
        with tempfile.TemporaryDirectory() as folder:
            for words in (["lag"], ["dead", "list"], ["trace", "--all"]):
                result = subprocess.run(
                    [BINARY, *words, "--topology", TOPOLOGY, "--data", folder], capture_output=True, text=True, timeout=LIMIT)
                self.assertEqual(result.returncode, 69, result.stderr)
                self.assertIn("there is nothing of mailflow in", result.stderr)
            self.assertEqual(os.listdir(folder), [])

    def test_nobody_else_may_read_the_mail(self):
        with Service() as service:
            os.chmod(service.data, 0o755)
            service.add_user("alice@example.com")
            service.start()
            for folder, _, files in os.walk(service.data):
                for file in files:
                    path = os.path.join(folder, file)
                    self.assertEqual(os.stat(path).st_mode & 0o077, 0, path)
            self.assertEqual(service.stop(), 0)

    def test_a_second_up_on_the_same_folder(self):
        with Service() as service:
            service.start()
            code, text = self.up(service.data)
            self.assertEqual(code, 75, text)
            self.assertIn(f"another mailflow (process {service.process.pid})", text)

    def test_a_port_in_use(self):
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = taken.getsockname()[1]
            code, text = self.up(self.folder(), "--set", f"gateways.web.listen=127.0.0.1:{port}")
            self.assertEqual(code, 69, text)
            self.assertIn(f"cannot listen on 127.0.0.1:{port}: Address already in use", text)

    def test_topologies_that_cannot_be_used(self):
        cases = [
            ("version: 1\nflows: {a: {from: smtp, stages: [validate\n", ":3:1: error: ", "flow sequence"),
            ("version: 1\ngateways: {smtp: {}}\nflows: {a: {from: smtp, stages: [validat, store]}}\n", ":3:34: error: ",
             "there is no stage `validat`; did you mean `validate`?"),
            ("version: 1\ngateways: {smtp: {lisen: x}}\nflows: {a: {from: smtp, stages: [store]}}\n", ":2:19: error: ",
             "did you mean `listen`?"),
            ("version: 1\nname: ${NO_SUCH_NAME}\ngateways: {smtp: {}}\nflows: {a: {from: smtp, stages: [store]}}\n", ":2:7: error: ",
             "NO_SUCH_NAME is not set"),
            ("version: 1\ngateways: {smtp: {}}\nflows: {a: {from: smtp, stages: [store, validate]}}\nstages: {store: {needs: [validate]}}\n",
             ":3:34: error: ", "needs `validate`, which comes behind it"),
        ]
        for topology, place, words in cases:
            path = self.file(topology)
            code, text = self.up(self.folder(), topology=path)
            self.assertEqual(code, 78, text)
            self.assertIn(path + place, text)
            self.assertIn(words, text)
        # All of them at once.
        path = self.file("version: 2\nflows: {a: {from: smtp, stages: [nothing]}}\nsomething: 1\n")
        code, text = self.up(self.folder(), topology=path)
        self.assertEqual([line.split(": error: ")[1][:20] for line in text.splitlines() if ": error: " in line],
                         ["version `2` is not k", "there is no stage `n", "a topology has no ke"], text)

    def test_a_folder_of_a_newer_version(self):
        for name in ("broker.db", "mail.db"):
            with Service() as service:
                service.add_user("alice@example.com")
                service.start()
                self.assertEqual(service.stop(), 0)
                with sqlite3.connect(os.path.join(service.data, name)) as database:
                    database.execute("PRAGMA user_version=999")
                database.close()
                result = service.command("user", "add", "bob@example.com") if name == "mail.db" else service.command("lag")
                self.assertNotEqual(result.returncode, 0)
                self.assertIn("newer", result.stderr)
                if name == "broker.db":
                    code, text = self.up(service.data)
                    self.assertEqual(code, 78, text)
                    self.assertIn("newer", text)

    @unittest.skipUnless(os.getuid() == 0, "has to become another user: run it as root")
    def test_a_folder_of_somebody_else(self):
        data = self.folder()
        os.chmod(data, 0o700)
        # Where another user can read it.
        place = self.folder()
        os.chmod(place, 0o755)
        shutil.copy(TOPOLOGY, place)
        binary = shutil.copy(BINARY, place)
        result = subprocess.run([binary, "up", "--topology", os.path.join(place, "topology.yaml"), "--data", data],
                                capture_output=True, text=True, timeout=LIMIT, user="nobody", cwd=place)
        self.assertEqual(result.returncode, 77, result.stderr)
        self.assertIn(data, result.stderr)
        self.assertIn("user", result.stderr)

    @unittest.skipUnless(os.getuid() == 0, "has to mount a small tmpfs: run it as root")
    def test_a_full_disk(self):
        place = self.folder()
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=160m", "tmpfs", place], capture_output=True)
        if mounted.returncode != 0:
            self.skipTest("cannot mount a tmpfs here: " + mounted.stderr.decode())
        self.addCleanup(subprocess.run, ["umount", "-l", place])
        with Service(data=os.path.join(place, "data")) as service:
            token = service.add_user("alice@example.com")
            service.start()
            accepted = []
            with smtplib.SMTP(*service.smtp, timeout=LIMIT) as client:
                client.ehlo("c.org")

                def send():
                    client.mail("a@b.org")
                    client.rcpt("alice@example.com")
                    client.putcmd("data")
                    self.assertEqual(client.getreply()[0], 354)
                    client.send(b"Subject: x\r\n\r\n" + b"x" * 20000 + b"\r\n.\r\n")
                    code, text = client.getreply()
                    if code == 250:
                        accepted.append(text.decode().split()[-1])
                    return code
                for _ in range(20):
                    self.assertEqual(send(), 250)
                filler = os.path.join(place, "filler")
                with open(filler, "wb", buffering=0) as file:
                    try:
                        while True:
                            file.write(b"\0" * 65536)
                    except OSError:
                        pass
                self.assertEqual(send(), 452)
                # What was accepted still flows.
                wait_for("accepted mail", lambda: {m["id"] for m in service.messages(token)} == set(accepted))
                os.unlink(filler)
                wait_for("it to resume", lambda: send() == 250)
                wait_for("all mail", lambda: {m["id"] for m in service.messages(token)} == set(accepted))
            self.assertEqual(service.stop(), 0)


if __name__ == "__main__":
    unittest.main()
