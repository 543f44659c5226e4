"""The whole service beside Postfix with Dovecot, and nginx."""
import http.client
import json
import os
import re
import resource
import shutil
import socket
import sqlite3
import subprocess
import threading
import time

from measure import ROOT, cpu, line, resident, say, tree, wait_for
from peers import Dovecot, Nginx, Postfix

USER = "alice@example.com"


class Mailflow:
    """`mailflow up` with the topology that is shipped, on free ports and a folder of its own."""

    def __init__(self, setting, folder):
        self.binary = setting.swift("mailflow")
        self.folder = folder
        self.arguments = ["--topology", f"{ROOT}/topology.yaml", "--data", folder]
        for gateway in ["smtp", "web"]:
            self.arguments += ["--set", f"gateways.{gateway}.listen=127.0.0.1:0"]
        added = subprocess.run(
            [self.binary, "user", "add", USER, "--token", "--json", *self.arguments],
            check=True, capture_output=True, text=True)
        self.token = json.loads(added.stdout)["token"]
        self.log = open(os.path.join(folder, "bench.log"), "w")
        self.process = subprocess.Popen(
            [self.binary, "up", *self.arguments], stdout=subprocess.PIPE, stderr=self.log, text=True)
        timer = threading.Timer(60, self.process.kill)
        timer.start()
        ready = json.loads(self.process.stdout.readline())
        timer.cancel()
        self.smtp, self.web = (int(ready["listen"][name].rsplit(":", 1)[1]) for name in ["smtp", "web"])
        self.pid = self.process.pid
        self.database = sqlite3.connect(f"file:{folder}/mail.db?mode=ro", uri=True)

    def delivered(self):
        return self.database.execute("SELECT coalesce(sum(total), 0) FROM folders").fetchone()[0]

    def child(self, name):
        for pid in tree(self.pid):
            with open(f"/proc/{pid}/cmdline") as file:
                if file.read().split("\0")[1:3] == ["child", name]:
                    return pid
        raise RuntimeError(f"no process {name}")

    def get(self, path):
        connection = http.client.HTTPConnection("127.0.0.1", self.web, timeout=60)
        connection.request("GET", path, headers={"Authorization": f"Bearer {self.token}"})
        answer = connection.getresponse()
        body = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{path}: {answer.status}")
        return body

    def stop(self):
        self.database.close()
        self.process.terminate()
        self.process.wait(60)
        self.log.close()


def is_root(name):
    if os.getuid() != 0:
        say(f"bench {name} skipped: Postfix has to be started as root")
    return os.getuid() == 0


# MARK: SMTP to mailbox


def burst(port, messages, delivered, *roots):
    """Sends messages of 10 KiB on 20 connections; returns rate and CPU until all have come to the mailbox."""
    os.sync()
    before = delivered()
    used, start = cpu(*roots), time.monotonic()
    subprocess.run(
        ["smtp-source", "-s", "20", "-m", str(messages), "-l", "10240", "-f", "bob@example.org", "-t", USER,
         f"127.0.0.1:{port}"], check=True, timeout=300)
    accepted = time.monotonic() - start
    wait_for(f"{messages} messages in the mailbox", lambda: delivered() - before >= messages, limit=300)
    seconds = time.monotonic() - start
    return {"rate": messages / seconds, "cpu": (cpu(*roots) - used) / messages * 1e3, "accepted": messages / accepted}


def smtp_to_mailbox(setting):
    """Bursts over SMTP until every message is in the mailbox, beside Postfix with Dovecot's LMTP; whole process trees."""
    if not is_root("smtp-to-mailbox"):
        return
    messages = 500 if setting.quick else 2_000
    mailflow = Mailflow(setting, setting.fresh("mailflow"))
    setting.ending.append(mailflow.stop)
    dovecot = Dovecot(setting.fresh("dovecot"))
    setting.ending.append(dovecot.stop)
    postfix = Postfix(setting.fresh("postfix"), dovecot.lmtp)
    setting.ending.append(postfix.stop)
    ours, theirs = [], []
    for _ in range(setting.rounds):
        ours.append(burst(mailflow.smtp, messages, mailflow.delivered, mailflow.pid))
        theirs.append(
            burst(postfix.port, messages, lambda: dovecot.delivered(USER), postfix.pid, dovecot.process.pid))
    for name, field, unit, higher, goal in [
        ("smtp-to-mailbox", "rate", "messages/s", True, 3), ("smtp-to-mailbox-accepted", "accepted", "messages/s", True, None),
        ("smtp-to-mailbox-cpu", "cpu", "ms/message", False, 5),
    ]:
        line(name, [run[field] for run in ours], [run[field] for run in theirs], unit, higher=higher, ratio_goal=goal)


# MARK: REST


def requests(seconds, url, pid, token=None):
    """wrk on 32 connections; returns rate and CPU a request."""
    words = ["wrk", "-t", "1", "-c", "32", "-d", f"{seconds}s"]
    if token:
        words += ["-H", f"Authorization: Bearer {token}"]
    used = cpu(pid)
    done = subprocess.run([*words, url], check=True, capture_output=True, text=True, timeout=120).stdout
    used = cpu(pid) - used
    if "Non-2xx" in done or "Socket errors" in done:
        raise RuntimeError(done)
    count = int(re.search(r"(\d+) requests in", done).group(1))
    rate = float(re.search(r"Requests/sec:\s+([\d.]+)", done).group(1))
    return {"rate": rate, "cpu": used / count * 1e6}


def rest(setting):
    """A list of folders and a message of 10 KiB as it was received, beside nginx with files of the same sizes."""
    mailflow = Mailflow(setting, setting.fresh("mailflow"))
    setting.ending.append(mailflow.stop)
    subprocess.run(
        ["smtp-source", "-s", "1", "-m", "1", "-l", "10240", "-f", "bob@example.org", "-t", USER,
         f"127.0.0.1:{mailflow.smtp}"], check=True, timeout=60)
    wait_for("the message", lambda: mailflow.delivered() == 1)
    message = json.loads(mailflow.get("/v1/messages"))["messages"][0]["id"]
    paths = {"rest-folders": "/v1/folders", "rest-raw": f"/v1/messages/{message}/raw"}
    root = setting.fresh("root")
    for name, path in paths.items():
        with open(os.path.join(root, name), "wb") as file:
            file.write(mailflow.get(path))
        os.chmod(os.path.join(root, name), 0o644)
    nginx = Nginx(setting.fresh("nginx"), root)
    setting.ending.append(nginx.stop)
    seconds = 2 if setting.quick else 4
    for name, path in paths.items():
        ours, theirs = [], []
        for _ in range(setting.rounds):
            ours.append(requests(seconds, f"http://127.0.0.1:{mailflow.web}{path}", mailflow.pid, mailflow.token))
            theirs.append(requests(seconds, f"http://127.0.0.1:{nginx.port}/{name}", nginx.process.pid))
        line(name, [run["rate"] for run in ours], [run["rate"] for run in theirs], "requests/s", higher=True)
        line(f"{name}-cpu", [run["cpu"] for run in ours], [run["cpu"] for run in theirs], "µs/request")


# MARK: Idle connections


def idle(port, count, measured):
    """Bytes that `measured` grows by for each of `count` connections that have said EHLO and nothing more."""

    def greet():
        connection = socket.create_connection(("127.0.0.1", port), timeout=60)
        connection.recv(500)
        connection.sendall(b"EHLO client.example.org\r\n")
        connection.recv(1000)
        return connection

    warm = [greet() for _ in range(min(100, count // 5))]
    before = measured()
    connections = [greet() for _ in range(count)]
    grown = measured() - before
    for connection in warm + connections:
        connection.close()
    return grown / count


def proportional(roots):
    """Proportional bytes of a tree of processes: what they share counts once."""
    total = 0
    for pid in tree(*roots):
        with open(f"/proc/{pid}/smaps_rollup") as file:
            total += sum(int(row.split()[1]) * 1024 for row in file if row.startswith("Pss:"))
    return total


def idle_smtp(setting):
    """Memory for an idle connection; Postfix has a process for each, so that 50 have to be enough for it."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    count = min(1_000 if setting.quick else 5_000, most - 200)
    ours, theirs = [], []
    for _ in range(1 if setting.quick else 3):
        mailflow = Mailflow(setting, setting.fresh("mailflow"))
        gateways = mailflow.child("gateways")
        ours.append(idle(mailflow.smtp, count, lambda: resident(gateways)))
        mailflow.stop()
        if os.getuid() == 0:
            postfix = Postfix(setting.fresh("postfix"), 9)
            theirs.append(idle(postfix.port, 50, lambda: proportional([postfix.pid])))
            postfix.stop()
    line("idle-smtp", ours, theirs or ours, "bytes/connection", ours_goal=8192)
