"""Mail through the built binary, with other people's clients, read back over REST byte for byte."""
import json
import os
import shutil
import smtplib
import subprocess
import tarfile
import time
import unittest

from service import LIMIT, PASSED, Service, wait_for

CORPUS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "..", "shared", "corpus")


def normalised(raw):
    """As a client has to send it: CRLF line ends, no mbox line, no bare CR."""
    if raw.startswith(b"From "):
        raw = raw[raw.index(b"\n") + 1:]
    lines = raw.replace(b"\r\n", b"\n").replace(b"\r", b"").split(b"\n")
    if lines and lines[-1] == b"":
        lines.pop()
    return b"\r\n".join(lines) + b"\r\n"


def dot_stuffed(content):
    return b"\r\n".join(b"." + line if line.startswith(b".") else line for line in content.split(b"\r\n"))


class MailTests(unittest.TestCase):
    def send(self, service, content, recipients=("alice@example.com",), sender="bob@other.org"):
        """By hand, so that the bytes are exactly these."""
        with smtplib.SMTP(*service.smtp, timeout=LIMIT) as client:
            client.ehlo("client.other.org")
            self.assertEqual(client.mail(sender)[0], 250)
            for recipient in recipients:
                self.assertEqual(client.rcpt(recipient)[0], 250)
            client.putcmd("data")
            self.assertEqual(client.getreply()[0], 354)
            client.send(dot_stuffed(content) + b".\r\n")
            code, text = client.getreply()
            self.assertEqual(code, 250, text)
            return text.decode().split()[-1]

    def test_a_message_arrives_byte_for_byte(self):
        with Service() as service:
            token = service.add_user("alice@example.com")
            service.start()
            content = (b"From: Bob <bob@other.org>\r\nTo: alice@example.com\r\nSubject: dots\r\nMessage-ID: <m1@other.org>\r\n\r\n"
                       b".\r\n..two\r\n.three\r\n" + bytes(range(128, 256)) + b"\r\n" + b"x" * 30000 + b"\r\n\r\n")
            name = self.send(service, content)
            message = wait_for("the message", lambda: service.messages(token))[0]
            self.assertEqual(message["id"], name)
            self.assertEqual((message["subject"], message["messageId"]), ("dots", "m1@other.org"))
            raw = service.raw(message["id"], token)
            self.assertTrue(raw.endswith(content), raw[:400])
            trace = raw[:-len(content)].decode()
            self.assertTrue(trace.startswith("Return-Path: <bob@other.org>\r\n"), trace)
            self.assertEqual(trace.count("Received:"), 1, trace)
            self.assertIn("from client.other.org ([127.0.0.1])", trace)
            wait_for("every stage to be done", lambda: not service.waiting())
            for word in (name, "<m1@other.org>"):
                # Read while the service runs, from another process.
                self.assertEqual(service.timeline(word), PASSED)
            status, body = service.get("/readyz")
            self.assertEqual((status, json.loads(body)["ready"]), (200, True))
            self.assertEqual(service.stop(), 0)

    def test_what_the_gateway_accepts_the_stages_keep(self):
        """A message of 26 MB: far beyond what a record carries inline, within the limits of both."""
        with Service() as service:
            token = service.add_user("alice@example.com")
            service.start()
            content = b"Subject: large\r\n\r\n" + b"0123456789abcdef\r\n" * 1_480_000
            self.send(service, content)
            message = wait_for("the message", lambda: service.messages(token))[0]
            self.assertTrue(service.raw(message["id"], token).endswith(content))
            self.assertEqual(service.stop(), 0)

    def test_several_recipients_get_one_each(self):
        with Service() as service:
            tokens = [service.add_user(f"user{n}@example.com") for n in range(5)]
            service.start()
            self.send(service, b"Subject: all\r\n\r\nhello\r\n", [f"user{n}@example.com" for n in range(5)])
            for token in tokens:
                wait_for("the message", lambda: service.messages(token))
                self.assertEqual(len(service.messages(token)), 1)

    def test_swaks_and_smtp_source(self):
        with Service() as service:
            token = service.add_user("alice@example.com")
            service.start()
            address = "%s:%d" % service.smtp
            swaks = subprocess.run(
                ["swaks", "--server", address, "--from", "a@other.org", "--to", "alice@example.com", "--header", "Subject: swaks", "--body", "by swaks"],
                capture_output=True, text=True, timeout=LIMIT)
            self.assertEqual(swaks.returncode, 0, swaks.stdout + swaks.stderr)
            tool = shutil.which("smtp-source", path=os.environ["PATH"] + ":/usr/sbin")
            source = subprocess.run(
                [tool, "-s", "10", "-m", "300", "-l", "10240", "-f", "a@other.org", "-t", "alice@example.com", "inet:" + address],
                capture_output=True, text=True, timeout=LIMIT)
            self.assertEqual(source.returncode, 0, source.stderr)
            wait_for("301 messages", lambda: len(service.messages(token)) == 301)
            lag = json.loads(service.command("lag", "--json").stdout)
            self.assertEqual({t["records"] for t in lag["topics"]}, {0})

    def test_what_is_refused(self):
        with Service(settings=["gateways.smtp.max-message-size=64KiB"]) as service:
            token = service.add_user("alice@example.com")
            service.start()
            with smtplib.SMTP(*service.smtp, timeout=LIMIT) as client:
                client.ehlo("c.org")
                client.mail("a@b.org")
                self.assertEqual(client.rcpt("nobody@example.com")[0], 550)
                self.assertEqual(client.rcpt("someone@elsewhere.org")[0], 550)
                self.assertEqual(client.rcpt("alice@example.com")[0], 250)
                self.assertEqual(client.rcpt("postmaster@example.com")[0], 250)
                client.rset()
                self.assertEqual(client.docmd("MAIL FROM:<a@b.org> SIZE=100000")[0], 552)
                client.mail("a@b.org")
                client.rcpt("alice@example.com")
                client.putcmd("data")
                client.getreply()
                client.send(b"Subject: smuggled\r\n\r\none\n.\nMAIL FROM:<x@y.z>\r\n.\r\n")
                self.assertEqual(client.getreply()[0], 550)
            self.assertEqual(service.get("/v1/messages", "0" * 64)[0], 401)
            self.assertEqual(service.get("/v1/messages?limit=0", token)[0], 400)
            self.assertEqual(service.get("/v1/messages/0190b3a1-7a4f-7000-8000-1234567890ab", token)[0], 404)
            self.assertEqual(service.messages(token), [])

    def test_a_corpus_of_real_mail(self):
        """Every message is stored byte for byte, and found. `make corpus` takes all of them; CORPUS_LIMIT says how many."""
        if not os.path.isdir(CORPUS):
            self.skipTest("no ../shared/corpus beside the repository: the SpamAssassin public corpus as tar.xz files")
        limit = int(os.environ.get("CORPUS_LIMIT", "300"))
        sent = {}
        with Service() as service:
            token = service.add_user("alice@example.com")
            service.start()
            refused = []
            with smtplib.SMTP(*service.smtp, timeout=LIMIT) as client:
                client.ehlo("corpus.other.org")
                for content in corpus(limit):
                    client.mail("corpus@other.org")
                    client.rcpt("alice@example.com")
                    client.putcmd("data")
                    client.getreply()
                    # A word of its own, by which it is found.
                    content = b"X-Corpus: 1\r\nSubject: corpus%06d\r\n" % len(sent) + content
                    client.send(dot_stuffed(content) + b".\r\n")
                    code, text = client.getreply()
                    if code == 250:
                        sent[text.decode().split()[-1]] = content
                    else:
                        refused.append((content[:200], code, text))
            self.assertEqual(refused, [])
            dead = lambda: json.loads(service.command("dead", "list", "--json", "--limit", "100000").stdout)
            lag = lambda: json.loads(service.command("lag", "--json").stdout)["topics"]
            wait_for("the corpus", lambda: len(service.messages(token)) + len(dead()["records"]) >= len(sent), 600)
            wait_for("the index", lambda: not any(t["records"] for t in lag() if t["kind"] != "dead"), 300)
            letters = dead()
            stored = {message["id"]: message for message in service.messages(token)}
            self.assertEqual(len(stored) + len(letters["records"]), len(sent))
            wrong = [name for name in stored if not service.raw(name, token).endswith(sent[name])]
            lost, shown = [], 0
            for number, name in enumerate(sent):
                found = service.json(f"/v1/messages?q=subject:corpus{number:06}", token)["messages"]
                if [m["id"] for m in found] != ([name] if name in stored else []):
                    lost.append(name)
                # And by a word that people see.
                words = [w for w in stored[name]["preview"].split()[:-1] if w.isascii() and w.isalpha() and len(w) > 5] if name in stored else []
                if words:
                    shown += 1
                    query = f"/v1/messages?q={words[0]}%20subject:corpus{number:06}"
                    if [m["id"] for m in service.json(query, token)["messages"]] != [name]:
                        lost.append((name, words[0]))
            junk = sum(service.json("/v1/folders", token)["folders"][n]["total"] for n in (1,))
            print(f"\ncorpus: {len(sent)} sent, {len(stored)} stored ({junk} in Junk), {len(wrong)} changed, {len(lost)} not "
                  f"found ({shown} also by a word of their text), dead letters {letters['groups']}")
            self.assertEqual((wrong, lost), ([], []))
            self.assertEqual(service.stop(), 0)


def corpus(limit):
    """So many messages, of each archive in proportion, spread evenly: as a client would send them."""
    archives = [os.path.join(CORPUS, name) for name in sorted(os.listdir(CORPUS)) if name.endswith(".tar.xz")]
    names = []
    for archive in archives:
        with tarfile.open(archive) as tar:
            names.append([member.name for member in tar if member.isfile()])
    total = sum(map(len, names))
    for archive, inner in zip(archives, names):
        step = max(1, total / limit)
        wanted = {inner[int(n * step)] for n in range(int(len(inner) / step))} if step > 1 else set(inner)
        with tarfile.open(archive) as tar:
            for member in tar:
                if member.name in wanted:
                    yield normalised(tar.extractfile(member).read())


if __name__ == "__main__":
    unittest.main()
