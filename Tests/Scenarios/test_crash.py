"""Every process is killed in turn under load: whatever was answered with 250 is in its mailbox once."""
import json
import os
import random
import signal
import smtplib
import threading
import time
import unittest

from service import LIMIT, Service, wait_for

KILLS = int(os.environ.get("KILLS", "9"))
IN_HAND = 100


class Senders:
    """Clients that send numbered messages, each once, and note which ones were answered with 250."""

    def __init__(self, service, count=4):
        self.service = service
        self.accepted = {}  # our number -> the service's id
        self.lock = threading.Lock()
        self.next = 0
        self.ended = threading.Event()
        self.threads = [threading.Thread(target=self.run, daemon=True) for _ in range(count)]
        for thread in self.threads:
            thread.start()

    def run(self):
        while not self.ended.is_set():
            try:
                with smtplib.SMTP(*self.service.smtp, timeout=LIMIT) as client:
                    client.ehlo("load.other.org")
                    for _ in range(200):
                        if self.ended.is_set():
                            return
                        self.send(client)
            except (OSError, smtplib.SMTPException):
                time.sleep(0.02)  # the gateway is away: what a client does

    def send(self, client):
        with self.lock:
            number = self.next
            self.next += 1
        body = f"Subject: {number}\r\nMessage-ID: <{number}@load>\r\n\r\n".encode() + b"x" * random.choice([50, 900, 5000, 70000]) + b"\r\n"
        client.mail("load@other.org")
        client.rcpt("alice@example.com")
        client.putcmd("data")
        if client.getreply()[0] != 354:
            raise smtplib.SMTPServerDisconnected("no 354")
        client.send(body + b".\r\n")
        code, text = client.getreply()
        if code == 250:
            with self.lock:
                self.accepted[number] = text.decode().split()[-1]

    def stop(self):
        self.ended.set()
        for thread in self.threads:
            thread.join(LIMIT)


class CrashTests(unittest.TestCase):
    def test_kill_nine_anywhere(self):
        seed = int(os.environ.get("SEED", str(random.randrange(1 << 30))))
        chance = random.Random(seed)
        with Service() as service:
            token = service.add_user("alice@example.com")
            service.start()
            # The same ports after each restart, as clients expect.
            service.settings = [f"gateways.smtp.listen=127.0.0.1:{service.smtp[1]}", f"gateways.web.listen=127.0.0.1:{service.web[1]}"]
            senders = Senders(service)
            killed = {}
            least = None
            for number in range(KILLS):
                target = ["worker", "gateways", "supervisor"][number % 3]
                hand = self.gather(service, senders, token)
                least = hand if least is None else min(least, hand)
                children = service.children()
                if target == "supervisor":
                    service.process.kill()
                    service.process.wait()
                    service.process.stdout.close()
                    service.start()  # waits for the folder's lock until the children are gone
                elif target in children:
                    os.kill(children[target], signal.SIGKILL)
                killed[target] = killed.get(target, 0) + 1
                # Sometimes again at once, while it recovers.
                if chance.random() < 0.3:
                    self.signal_worker(service, signal.SIGKILL)
                    killed["worker, recovering"] = killed.get("worker, recovering", 0) + 1
            senders.stop()
            wait_for("everything to be worked off", lambda: self.is_empty(service), 120)
            stored = service.messages(token)
            dead = json.loads(service.command("dead", "list", "--json").stdout)["records"]
            ids = [message["id"] for message in stored]
            numbers = [message["subject"] for message in stored]
            lost = [n for n, name in senders.accepted.items() if name not in set(ids)]
            twice = len(ids) - len(set(ids)) + len(numbers) - len(set(numbers))
            print(f"\ncrash: seed {seed}, killed {killed}, at least {least} in hand, accepted {len(senders.accepted)}, "
                  f"stored {len(stored)}, lost {len(lost)}, twice {twice}, dead {len(dead)}")
            self.assertEqual((lost, twice, dead), ([], 0, []))
            self.assertGreaterEqual(least, IN_HAND)
            self.assertEqual(service.stop(), 0)

    def gather(self, service, senders, token):
        """Holds the worker until enough is in hand, and lets it go again."""
        wait_for("the gateways", lambda: service.children().get("gateways"))
        end = time.monotonic() + LIMIT
        hand = 0
        while hand < IN_HAND:
            self.assertLess(time.monotonic(), end, "nothing was accepted: " + "".join(service.errors[-5:]))
            before = self.accepted(senders)
            worker = self.signal_worker(service, signal.SIGSTOP)
            # Stopped in the middle of a commit it holds the database, and nobody gets on: then it is let go, and
            # stopped again a little later.
            seen = -1
            while seen != self.accepted(senders) and self.accepted(senders) - before < IN_HAND:
                seen = self.accepted(senders)
                time.sleep(0.15)
            hand = self.accepted(senders) - before
            try:
                os.kill(worker, signal.SIGCONT)
            except ProcessLookupError:
                hand = 0  # it was still dying of the kill before
            time.sleep(0 if hand >= IN_HAND else 0.01)
        return hand

    def signal_worker(self, service, number):
        while True:
            worker = wait_for("a worker", lambda: service.children().get("worker"))
            try:
                os.kill(worker, number)
                return worker
            except ProcessLookupError:
                pass  # it was still dying of the kill before

    def accepted(self, senders):
        with senders.lock:
            return len(senders.accepted)

    def is_empty(self, service):
        lag = json.loads(service.command("lag", "--json").stdout or '{"topics":[{"records":1,"kind":"ready"}]}')
        return sum(topic["records"] for topic in lag["topics"] if topic["kind"] != "dead") == 0


if __name__ == "__main__":
    unittest.main()
