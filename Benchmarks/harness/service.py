"""The whole service beside Postfix with Dovecot, and nginx."""
import http.client
import json
import os
import re
import resource
import shutil
import smtplib
import socket
import sqlite3
import ssl
import subprocess
import tarfile
import threading
import time

from measure import ROOT, cpu, line, resident, say, tree, wait_for
from peers import Dovecot, Nginx, Postfix

USER = "alice@example.com"
CORPUS = os.path.join(ROOT, "..", "shared", "corpus")


class Mailflow:
    """`mailflow up` with the topology that is shipped, on free ports and a folder of its own."""

    def __init__(self, setting, folder, command=("up",), more=()):
        self.binary = setting.swift("mailflow")
        self.folder = folder
        self.arguments = ["--topology", f"{ROOT}/topology.yaml", "--data", folder, *more]
        for gateway in ["smtp", "web"]:
            self.arguments += ["--set", f"gateways.{gateway}.listen=127.0.0.1:0"]
        added = subprocess.run(
            [self.binary, "user", "add", USER, "--token", "--json", *self.arguments],
            check=True, capture_output=True, text=True)
        self.token = json.loads(added.stdout)["token"]
        self.log = open(os.path.join(folder, "bench.log"), "w")
        self.process = subprocess.Popen(
            [self.binary, *command, *self.arguments], stdout=subprocess.PIPE, stderr=self.log, text=True)
        timer = threading.Timer(60, self.process.kill)
        timer.start()
        ready = json.loads(self.process.stdout.readline())
        timer.cancel()
        self.smtp, self.web = (
            int(ready["listen"][name].rsplit(":", 1)[1]) if name in ready["listen"] else None for name in ["smtp", "web"])
        self.pid = self.process.pid
        self.database = sqlite3.connect(f"file:{folder}/mail.db?mode=ro", uri=True)

    def delivered(self):
        return self.database.execute("SELECT coalesce(sum(total), 0) FROM folders").fetchone()[0]

    def waiting(self):
        """Records that wait in stages' topics, dead letters not counted."""
        shown = subprocess.run(
            [self.binary, "lag", "--json", *self.arguments], check=True, capture_output=True, text=True).stdout
        return sum(topic["records"] for topic in json.loads(shown)["topics"] if topic["kind"] != "dead")

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


def burst(port, messages, delivered, *roots, sessions=20):
    """Sends messages of 10 KiB on 20 connections; returns rate and CPU until all have come to the mailbox, or were
    accepted if nobody says what was delivered."""
    os.sync()
    before = delivered() if delivered else 0
    used, start = cpu(*roots), time.monotonic()
    subprocess.run(
        ["smtp-source", "-s", str(sessions), "-m", str(messages), "-l", "10240", "-f", "bob@example.org", "-t", USER,
         f"127.0.0.1:{port}"], check=True, timeout=300)
    accepted = time.monotonic() - start
    if delivered:
        wait_for(f"{messages} messages in the mailbox", lambda: delivered() - before >= messages, limit=120)
    seconds = time.monotonic() - start
    return {"rate": messages / seconds, "cpu": (cpu(*roots) - used) / messages * 1e3, "accepted": messages / accepted}


def servers(setting):
    """Ours, and Postfix with Dovecot's LMTP."""
    mailflow = Mailflow(setting, setting.fresh("mailflow"))
    setting.ending.append(mailflow.stop)
    dovecot = Dovecot(setting.fresh("dovecot"))
    setting.ending.append(dovecot.stop)
    postfix = Postfix(setting.fresh("postfix"), dovecot.lmtp)
    setting.ending.append(postfix.stop)
    return mailflow, postfix, dovecot


def smtp_to_mailbox(setting):
    """Bursts over SMTP, through all stages of the topology that is shipped, until every message is in the mailbox, beside
    Postfix with Dovecot's LMTP; whole process trees."""
    if not is_root("smtp-to-mailbox"):
        return
    messages = 500 if setting.quick else 2_000
    mailflow, postfix, dovecot = servers(setting)
    ours, theirs = [], []
    for _ in range(setting.rounds):
        ours.append(burst(mailflow.smtp, messages, mailflow.delivered, mailflow.pid))
        theirs.append(
            burst(postfix.port, messages, lambda: dovecot.delivered(USER), postfix.pid, dovecot.process.pid))
    for name, field, unit, higher, goal in [
        ("smtp-to-mailbox", "rate", "messages/s", True, 3), ("smtp-to-mailbox-accepted", "accepted", "messages/s", True, None),
        ("smtp-to-mailbox-cpu", "cpu", "ms/message", False, 4),
    ]:
        line(name, [run[field] for run in ours], [run[field] for run in theirs], unit, higher=higher, ratio_goal=goal)


def corpus_messages(most):
    """Real mail, as a client has to send it: CR LF, dots doubled; none where there is no corpus."""
    messages = []
    for archive in sorted(os.listdir(CORPUS)) if os.path.isdir(CORPUS) else []:
        if not archive.endswith(".tar.xz"):
            continue
        with tarfile.open(os.path.join(CORPUS, archive)) as tar:
            for member in tar:
                if not member.isfile() or len(messages) >= most:
                    continue
                raw = tar.extractfile(member).read()
                if raw.startswith(b"From "):
                    raw = raw[raw.index(b"\n") + 1:]
                lines = raw.replace(b"\r\n", b"\n").replace(b"\r", b"").rstrip(b"\n").split(b"\n")
                lines = [b"." + text if text.startswith(b".") else text for text in lines]
                messages.append(b"\r\n".join(lines) + b"\r\n.\r\n")
    return messages


def submit(port, messages, connections=20):
    """Sends messages over so many kept connections; all have to be accepted."""
    left, lock, failures = iter(messages), threading.Lock(), []

    def run():
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=60) as client, client.makefile("rb") as replies:
                replies.readline()
                client.sendall(b"EHLO client.example.org\r\n")
                while replies.readline()[3:4] == b"-":
                    pass
                while True:
                    with lock:
                        message = next(left, None)
                    if message is None:
                        return client.sendall(b"QUIT\r\n")
                    client.sendall(f"MAIL FROM:<bob@example.org>\r\nRCPT TO:<{USER}>\r\nDATA\r\n".encode())
                    answers = [replies.readline() for _ in range(3)]
                    client.sendall(message)
                    answers.append(replies.readline())
                    if [answer[:1] for answer in answers] != [b"2", b"2", b"3", b"2"]:
                        raise RuntimeError(answers)
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=run) for _ in range(connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(300)
    if failures:
        raise failures[0]


def smtp_corpus(setting):
    """The same with real mail, as many messages of the corpus; the client is Python, whose own pace bounds the rates."""
    if not is_root("smtp-corpus"):
        return
    messages = corpus_messages(500 if setting.quick else 2_000)
    if not messages:
        return say("bench smtp-corpus skipped: no ../shared/corpus")
    mailflow, postfix, dovecot = servers(setting)
    runs = {"ours": [], "theirs": []}
    expected = len(messages)
    for number in range(setting.rounds + 1):
        for which, port, delivered, roots in [
            ("ours", mailflow.smtp, mailflow.delivered, [mailflow.pid]),
            ("theirs", postfix.port, lambda: dovecot.delivered(USER), [postfix.pid, dovecot.process.pid]),
        ]:
            os.sync()
            before, used, start = delivered(), cpu(*roots), time.monotonic()
            submit(port, messages)
            if which == "ours" and number == 0:
                # Not all are mail that `validate` takes; so many arrive, and the first round counts for nothing else.
                wait_for("empty queues", lambda: mailflow.waiting() == 0, limit=300, pause=0.5)
                expected = delivered() - before
            goal = expected if which == "ours" else len(messages)
            wait_for(f"{goal} messages in the mailbox", lambda: delivered() - before >= goal, limit=300)
            seconds = time.monotonic() - start
            if number:
                runs[which].append(
                    {"rate": len(messages) / seconds, "cpu": (cpu(*roots) - used) / len(messages) * 1e3})
    for name, field, unit, higher, goal in [
        ("smtp-corpus", "rate", "messages/s", True, None), ("smtp-corpus-cpu", "cpu", "ms/message", False, 4),
    ]:
        ours, theirs = ([run[field] for run in runs[which]] for which in ["ours", "theirs"])
        line(name, ours, theirs, unit, higher=higher, ratio_goal=goal)


def latency(port, count, rate, arrived):
    """Milliseconds from the 250 to the mailbox at `rate` messages a second, sorted. The k-th that arrives is taken for the
    k-th that was accepted."""
    accepted, arrivals, before = [], [], arrived()
    stop = threading.Event()

    def watch():
        while len(arrivals) < count and not stop.is_set():
            new = arrived() - before - len(arrivals)
            if new > 0:
                arrivals.extend([time.monotonic()] * new)
            time.sleep(0.0005)

    watcher = threading.Thread(target=watch)
    watcher.start()
    body = "Subject: latency\r\n\r\n" + ("x" * 70 + "\r\n") * 140
    with smtplib.SMTP("127.0.0.1", port, timeout=60) as client:
        start = time.monotonic()
        for number in range(count):
            time.sleep(max(0, start + number / rate - time.monotonic()))
            client.sendmail("bob@example.org", [USER], body)
            accepted.append(time.monotonic())
    watcher.join(60)
    stop.set()
    watcher.join()
    if len(arrivals) < count:
        raise TimeoutError(f"{len(arrivals)} of {count} messages have arrived")
    return sorted(max(0, to - since) * 1e3 for since, to in zip(accepted, arrivals))


def smtp_latency(setting):
    """From the 250 to the mailbox, 10 KiB, 30 messages a second, one kept connection."""
    if not is_root("smtp-latency"):
        return
    mailflow, postfix, dovecot = servers(setting)
    database = sqlite3.connect(f"file:{mailflow.folder}/mail.db?mode=ro", uri=True, check_same_thread=False)
    setting.ending.append(database.close)
    folder = os.path.join(dovecot.mail, USER, "Maildir", "new")
    known = [0, 0]  # when the folder changed last, and what was in it

    def ours():
        return database.execute("SELECT coalesce(sum(total), 0) FROM folders").fetchone()[0]

    def theirs():
        changed = os.stat(folder).st_mtime_ns
        if changed != known[0]:
            known[:] = [changed, len(os.listdir(folder))]
        return known[1]

    count = 300 if setting.quick else 600
    burst(mailflow.smtp, 20, mailflow.delivered, mailflow.pid)
    burst(postfix.port, 20, lambda: dovecot.delivered(USER), postfix.pid, dovecot.process.pid)
    runs = {"ours": [], "theirs": []}
    for _ in range(2 if setting.quick else 3):
        runs["ours"].append(latency(mailflow.smtp, count, 30, ours))
        runs["theirs"].append(latency(postfix.port, count, 30, theirs))
    for name, part, goal in [("smtp-latency-p50", 0.5, 15), ("smtp-latency-p99", 0.99, 50)]:
        values = [[run[int(len(run) * part)] for run in runs[which]] for which in ["ours", "theirs"]]
        line(name, *values, "ms", ours_goal=goal)


# MARK: REST


def requests(seconds, url, pid, token=None):
    """wrk on 32 connections; returns rate and CPU a request, of the server and of both: who reads the packets of a loopback
    connection, the sender's system call or the receiver's, is a matter of who waits for whom."""
    words = ["wrk", "-t", "1", "-c", "32", "-d", f"{seconds}s"]
    if token:
        words += ["-H", f"Authorization: Bearer {token}"]
    used, client = cpu(pid), children()
    done = subprocess.run([*words, url], check=True, capture_output=True, text=True, timeout=120).stdout
    used, client = cpu(pid) - used, children() - client
    if "Non-2xx" in done or "Socket errors" in done:
        raise RuntimeError(done)
    count = int(re.search(r"(\d+) requests in", done).group(1))
    rate = float(re.search(r"Requests/sec:\s+([\d.]+)", done).group(1))
    return {"rate": rate, "cpu": used / count * 1e6, "both": (used + client) / count * 1e6}


def children():
    """CPU seconds of this process's children that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def rest(setting):
    """A list of folders, and messages of 10 KiB and 1 MiB as they were received, beside nginx with files of the same sizes."""
    mailflow = Mailflow(setting, setting.fresh("mailflow"))
    setting.ending.append(mailflow.stop)
    for size in (10_240, 1 << 20):
        subprocess.run(
            ["smtp-source", "-s", "1", "-m", "1", "-l", str(size), "-f", "bob@example.org", "-t", USER,
             f"127.0.0.1:{mailflow.smtp}"], check=True, timeout=60)
    wait_for("the messages", lambda: mailflow.delivered() == 2)
    small, large = sorted(json.loads(mailflow.get("/v1/messages"))["messages"], key=lambda message: message["size"])
    paths = {"rest-folders": "/v1/folders", "rest-raw": f"/v1/messages/{small['id']}/raw",
             "rest-large": f"/v1/messages/{large['id']}/raw"}
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
        line(f"{name}-cpu-with-client", [run["both"] for run in ours], [run["both"] for run in theirs], "µs/request")


# MARK: Idle connections


def idle(connect, count, measured):
    """Bytes that `measured` grows by for each of `count` connections that have said hello and nothing more."""
    warm = [connect() for _ in range(min(100, count // 5))]
    before = measured()
    connections = [connect() for _ in range(count)]
    grown = measured() - before
    for connection in warm + connections:
        connection.close()
    return grown / count


def many(wanted):
    """As many connections as are wanted or can be had."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return min(wanted, most - 200)


def greet(port):
    """An SMTP connection that has said EHLO."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=60)
    connection.recv(500)
    connection.sendall(b"EHLO client.example.org\r\n")
    connection.recv(1000)
    return connection


ANYBODY = ssl._create_unverified_context()


def secure(port, path):
    """An HTTPS connection that has had one answer."""
    connection = ANYBODY.wrap_socket(socket.create_connection(("127.0.0.1", port), timeout=60))
    connection.sendall(b"GET %b HTTP/1.1\r\nHost: x\r\n\r\n" % path.encode())
    if not connection.recv(1000).startswith(b"HTTP/1.1 200 "):
        raise RuntimeError("not served by TLS")
    return connection


def web_socket(port):
    """A WebSocket that has had one echo."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=60)
    connection.sendall(
        b"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n")
    if not connection.recv(1000).startswith(b"HTTP/1.1 101 "):
        raise RuntimeError("no WebSocket")
    connection.sendall(bytes([0x81, 0x82, 0, 0, 0, 0]) + b"hi")
    connection.recv(100)
    return connection


def proportional(roots):
    """Proportional bytes of a tree of processes: what they share counts once."""
    total = 0
    for pid in tree(*roots):
        with open(f"/proc/{pid}/smaps_rollup") as file:
            total += sum(int(row.split()[1]) * 1024 for row in file if row.startswith("Pss:"))
    return total


def idle_smtp(setting):
    """Memory for an idle connection; Postfix has a process for each, so that 50 have to be enough for it."""
    count = many(1_000 if setting.quick else 5_000)
    ours, theirs = [], []
    for _ in range(1 if setting.quick else 3):
        mailflow = Mailflow(setting, setting.fresh("mailflow"))
        gateways = mailflow.child("gateways")
        ours.append(idle(lambda: greet(mailflow.smtp), count, lambda: resident(gateways)))
        mailflow.stop()
        if os.getuid() == 0:
            postfix = Postfix(setting.fresh("postfix"), 9)
            theirs.append(idle(lambda: greet(postfix.port), 50, lambda: proportional([postfix.pid])))
            postfix.stop()
    line("idle-smtp", ours, theirs or ours, "bytes/connection", ours_goal=8192)


def idle_tls(setting):
    """Memory for an HTTPS connection that waits between two requests, beside nginx's."""
    count = many(500 if setting.quick else 2_000)
    ours, theirs = [], []
    for _ in range(1 if setting.quick else 3):
        mailflow = Mailflow(
            setting, setting.fresh("mailflow"), more=["--set", "gateways.web.tls-certificate=self-signed"])
        gateways = mailflow.child("gateways")
        ours.append(idle(lambda: secure(mailflow.web, "/livez"), count, lambda: resident(gateways)))
        root = setting.fresh("root")
        with open(os.path.join(root, "livez"), "w") as file:
            file.write("live")
        os.chmod(os.path.join(root, "livez"), 0o644)
        nginx = Nginx(setting.fresh("nginx"), root, os.path.join(setting.folder, "mailflow", "self-signed.pem"))
        theirs.append(idle(lambda: secure(nginx.port, "/livez"), count, lambda: proportional([nginx.process.pid])))
        nginx.stop()
        mailflow.stop()
    line("idle-tls", ours, theirs, "bytes/connection", ours_goal=24_576)


def idle_websocket(setting):
    """Memory for a WebSocket on which nothing happens."""
    count = many(1_000 if setting.quick else 5_000)
    ours = []
    for _ in range(1 if setting.quick else 3):
        probe = subprocess.Popen([setting.swift("http-probe")], stdout=subprocess.PIPE, text=True)
        port = int(probe.stdout.readline().strip().rsplit(":", 1)[1])
        ours.append(idle(lambda: web_socket(port), count, lambda: resident(probe.pid)))
        probe.kill()
        probe.wait()
        probe.stdout.close()
    line("idle-websocket", ours, ours, "bytes/connection", ours_goal=8192)
