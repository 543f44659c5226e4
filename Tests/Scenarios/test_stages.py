"""Stages that misbehave, and an order that changes with mail in flight."""
import json
import os
import smtplib
import threading
import time
import unittest

from service import BINARY, LIMIT, Service, wait_for

TESTBED = os.path.join(os.path.dirname(BINARY), "mailflow-testbed")


def topology(stages, settings=""):
    return f"""
version: 1
gateways: {{smtp: {{}}, web: {{}}}}
domains: [example.com]
flows:
  inbound: {{from: smtp, stages: [{", ".join(stages)}]}}
stages:
{settings}
"""


def deliver(service, count, bodies=(), sessions=8):
    """Sends messages over several sessions; the ids by number."""
    ids, lock = {}, threading.Lock()

    def run(session):
        with smtplib.SMTP(*service.smtp, timeout=LIMIT) as client:
            client.ehlo("c.org")
            for number in range(session, count, sessions):
                body = bodies[number] if number < len(bodies) else "fine"
                client.mail("a@b.org")
                client.rcpt("alice@example.com")
                code, text = client.data(f"Subject: {number}\r\n\r\n{body}\r\n".encode())
                assert code == 250, text
                with lock:
                    ids[number] = text.decode().split()[-1]

    threads = [threading.Thread(target=run, args=(n,)) for n in range(sessions)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LIMIT)
    assert len(ids) == count, f"{len(ids)} of {count} accepted"
    return ids


@unittest.skipUnless(os.path.exists(TESTBED), "needs mailflow-testbed: swift build --build-tests")
class StageTests(unittest.TestCase):
    def service(self, text):
        service = Service(binary=TESTBED)
        service.topology = os.path.join(service.data, "topology.yaml")
        self.write(service, text)
        return service

    def write(self, service, text):
        with open(service.topology, "w") as file:
            file.write(text)

    def dead(self, service):
        return json.loads(service.command("dead", "list", "--json").stdout)["records"]

    def test_bad_messages_cost_only_themselves(self):
        settings = "  trouble: {timeout: 2s, retry: [100ms], give-up: 100ms, concurrency: 8}"
        # More that hang than there are cores.
        bodies = ["trouble: trap", "trouble: hang", "trouble: hang", "trouble: hang", "trouble: hang", "trouble: recurse", "trouble: throw"]
        with self.service(topology(["trouble", "store"], settings)) as service:
            token = service.add_user("alice@example.com")
            service.start()
            first = deliver(service, 60, bodies)
            # SMTP answers all the while, and what comes now flows again within timeout + 5 s.
            began = time.monotonic()
            second = deliver(service, 20)
            healthy = {i for n, i in first.items() if n >= len(bodies)} | set(second.values())
            wait_for("the healthy messages", lambda: healthy <= {m["id"] for m in service.messages(token)}, 120)
            took = time.monotonic() - began
            print(f"\nbad stages: the healthy ones were through after {took:.1f} s")
            # The goal is the stage's time-out and 5 s; the rest is for machines with more to do.
            self.assertLess(took, 2 + 5 + 10)
            wait_for("the bad ones", lambda: len(self.dead(service)) == len(bodies), 120)
            wait_for("everything to run", lambda: service.get("/readyz")[0] == 200)
            dead = {letter["id"]: letter["reason"] for letter in self.dead(service)}
            reasons = {bodies[n].split()[-1]: dead[first[n]] for n in range(len(bodies))}
            self.assertEqual(
                reasons, {"trap": "crash", "hang": "crash", "recurse": "crash", "throw": "error.Failure"})
            self.assertEqual({m["id"] for m in service.messages(token)}, healthy)
            self.assertEqual(service.stop(), 0)

    def test_an_isolated_stage_dies_alone(self):
        settings = "  trouble: {isolate: true, timeout: 2s, retry: [100ms], give-up: 100ms}"
        with self.service(topology(["trouble", "store"], settings)) as service:
            token = service.add_user("alice@example.com")
            service.start()
            before = service.children()
            self.assertLessEqual({"gateways", "worker", "worker:inbound.trouble"}, set(before))
            ids = deliver(service, 20, ["trouble: trap"])
            healthy = {name for number, name in ids.items() if number > 0}
            wait_for("the healthy messages", lambda: healthy <= {m["id"] for m in service.messages(token)})
            wait_for("the bad one", lambda: self.dead(service))
            self.assertEqual([(d["id"], d["reason"]) for d in self.dead(service)], [(ids[0], "crash")])
            after = wait_for(
                "its worker", lambda: (c := service.children()) and c.get("worker:inbound.trouble") and c)
            self.assertEqual(after["worker"], before["worker"])
            self.assertNotEqual(after["worker:inbound.trouble"], before["worker:inbound.trouble"])
            self.assertEqual(service.stop(), 0)

    def test_an_order_that_changes_with_mail_in_flight(self):
        count = int(os.environ.get("REORDER_MESSAGES", "2500"))
        slow = "  %s: {use: pass, delay: 15ms, concurrency: 4}\n"
        everything = "".join(slow % name for name in "abc")
        orders = [["a", "b"], ["b", "a"], ["c", "b", "a"], ["c", "a"]]
        with self.service(topology([*orders[0], "store"], "".join(slow % n for n in orders[0]))) as service:
            token = service.add_user("alice@example.com")
            service.start()
            ids = deliver(service, count)
            for order in orders[1:]:
                waiting = sum(t["records"] for t in json.loads(service.command("lag", "--json").stdout)["topics"])
                self.assertGreater(waiting, 100, "nothing is in flight any more")
                self.assertEqual(service.stop(), 0)
                self.write(service, topology([*order, "store"], "".join(slow % n for n in sorted(order))))
                service.start()
            wait_for("everything to arrive", lambda: len(service.messages(token)) >= count, 180)
            self.assertEqual(len({m["id"] for m in service.messages(token)}), count)
            lines = service.command("trace", "--all").stdout.splitlines()
            timelines = {t["id"]: [e["stage"] for e in t["events"] if e["event"] == "done"] for t in map(json.loads, lines)}
            moved = sum(any(e["event"] == "moved" for e in json.loads(line)["events"]) for line in lines)
            for name in ids.values():
                done = timelines[name]
                self.assertEqual(len(done), len(set(done)), f"{name} passed a stage twice: {done}")
                self.assertIn("a", done)
                self.assertEqual(done[-1], "store")
                # b was there until the last order; c came with the third.
                self.assertTrue("b" in done or "c" in done, done)
            self.assertEqual(self.dead(service), [])
            print(f"\nreorder: {count} messages, {moved} of them moved, paths {sorted({'-'.join(d) for d in timelines.values()})}")


if __name__ == "__main__":
    unittest.main()
