"""Hostile SMTP clients against the built binary: smuggling, injection, dripping, floods. TORTURE=1 tries the long forms."""
import os
import re
import resource
import smtplib
import socket
import ssl
import threading
import time
import unittest

from service import LIMIT, Service, wait_for

TORTURE = os.environ.get("TORTURE", "") not in ("", "0")
ANYBODY = ssl._create_unverified_context()
OPENING = b"EHLO c\r\nMAIL FROM:<a@b.c>\r\nRCPT TO:<alice@example.com>\r\n"
EVIL = b"MAIL FROM:<evil@b.c>\r\nRCPT TO:<alice@example.com>\r\nDATA\r\nSubject: evil\r\n\r\n.\r\n"

# Ends of a message that some servers take, and that are none (RFC 5321 section 2.3.8; CVE-2023-51764 and its kin).
SMUGGLED = [
    b"\n.\n", b"\n.\r\n", b"\n.\r", b"\r.\r", b"\r.\n", b"\r.\r\n", b"\r\n.\n", b"\r\n.\r", b"\n\n.\n\n", b"\r\r.\r\r",
    b"\n\r.\n\r", b"\r\n\r.\r\n", b"\r\n\n.\r\n", b"\r\n.\r\r\n", b"\r\n.\n\r\n", b"\r\r\n.\r\r\n", b"\r\n\0.\r\n",
    b"\r\n.\0\r\n", b"\r\n. \r\n", b"\r\n.\t\r\n", b"\r\n .\r\n", b"\r\n\xc2\x85.\r\n", b"\xe2\x80\xa8.\xe2\x80\xa8",
    b"\x0b.\x0b", b"\x0c.\r\n",
]


def talk(address, pieces, pause=0.0):
    """Everything that is answered to the pieces, each in a segment of its own."""
    answer = b""
    with socket.create_connection(address, timeout=LIMIT) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            for piece in pieces:
                client.sendall(piece)
                time.sleep(pause)
            client.shutdown(socket.SHUT_WR)
        except OSError:
            pass
        try:
            while piece := client.recv(65536):
                answer += piece
        except ConnectionError:
            pass
    return answer


def codes(answer):
    return [int(code) for code in re.findall(rb"^(\d{3})(?: |\r)", answer, re.M)]


def peak(pid):
    """The most memory that a process has had, in bytes."""
    with open(f"/proc/{pid}/status") as status:
        return int(re.search(r"VmHWM:\s+(\d+)", status.read()).group(1)) * 1024


class Dripping(threading.Thread):
    """A client that says something, then drips until it is sent away."""

    def __init__(self, address, opening, drop):
        super().__init__(daemon=True)
        self.address, self.opening, self.drop = address, opening, drop
        self.answer, self.seconds = b"", None

    def run(self):
        started = time.monotonic()
        with socket.create_connection(self.address, timeout=LIMIT) as client:
            client.sendall(self.opening)
            client.settimeout(0.1)
            while time.monotonic() - started < LIMIT:
                try:
                    if not (piece := client.recv(4096)):
                        break
                    self.answer += piece
                except TimeoutError:
                    try:
                        client.sendall(self.drop)
                    except OSError:
                        break
                except OSError:
                    break
        self.seconds = time.monotonic() - started


class HostileSMTPTests(unittest.TestCase):
    def test_nothing_is_smuggled(self):
        with Service(settings=["gateways.smtp.max-errors=1000"]) as service:
            token = service.add_user("alice@example.com")
            service.start()
            for end in SMUGGLED:
                inside = b"Subject: outside\r\n\r\nx" + end + EVIL
                with self.subTest(end=end):
                    # In one segment, and cut within what is taken for the end.
                    for cut in (0, 1, len(end) - 1):
                        at = len(inside) - len(EVIL) - cut
                        answer = talk(service.smtp, [OPENING + b"DATA\r\n" + inside[:at], inside[at:] + b"QUIT\r\n"])
                        self.assertEqual(codes(answer)[:5], [220, 250, 250, 250, 354], answer)
                        self.assertEqual(codes(answer).count(354), 1, answer)
                    answer = talk(service.smtp, [OPENING + b"BDAT %d LAST\r\n" % len(inside) + inside + b"QUIT\r\n"])
                    self.assertNotIn(354, codes(answer))
                    self.assertEqual(codes(answer)[-1], 221, answer)
            self.assertEqual(codes(talk(service.smtp, [OPENING + b"DATA\r\nSubject: last\r\n\r\n.\r\nQUIT\r\n"]))[-2:], [250, 221])
            wait_for("the last mail", lambda: "last" in [mail["subject"] for mail in service.messages(token)])
            self.assertNotIn("evil", [mail["subject"] for mail in service.messages(token)])
            self.assertEqual(service.stop(), 0)

    def test_nothing_is_injected_before_tls(self):
        with Service() as service:
            token = service.add_user("alice@example.com")
            service.start()
            # In one segment with STARTTLS: refused, and never taken within TLS.
            for behind in (b"MAIL FROM:<evil@b.c>\r\n", b"RSET\r\n", b"\r\n", b"E"):
                answer = talk(service.smtp, [b"EHLO c\r\nSTARTTLS\r\n" + behind])
                self.assertEqual(codes(answer), [220, 250, 501], answer)
            # In a segment of its own, before the handshake: OpenSSL finds no handshake there.
            answer = talk(service.smtp, [b"EHLO c\r\nSTARTTLS\r\n", EVIL], pause=0.2)
            self.assertEqual(codes(answer)[:3], [220, 250, 220], answer)
            with smtplib.SMTP(*service.smtp, timeout=LIMIT) as client:
                client.ehlo("before")
                client.mail("evil@b.c")
                client.rcpt("alice@example.com")
                self.assertEqual(client.docmd("STARTTLS")[0], 220)
                client.sock = ANYBODY.wrap_socket(client.sock)
                client.file = None
                # What was said in plain is forgotten: the greeting, the sender and the recipient.
                self.assertEqual(client.docmd("DATA")[0], 503)
                self.assertEqual(client.docmd("MAIL", "FROM:<evil@b.c>")[0], 503)
                client.ehlo("within")
                self.assertEqual(client.docmd("STARTTLS")[0], 503)
                client.sendmail("bob@other.org", ["alice@example.com"], b"Subject: good\r\n\r\nx\r\n")
            mail = wait_for("the good mail", lambda: service.messages(token))
            self.assertEqual([m["subject"] for m in mail], ["good"])
            self.assertIn("from within ", service.raw(mail[0]["id"], token).decode())

    def test_clients_that_drip(self):
        clients = 300 if TORTURE else 60
        settings = ["gateways.smtp.command-timeout=2s", "gateways.smtp.data-timeout=2s", "gateways.smtp.message-timeout=3s"]
        with Service(settings=settings) as service:
            token = service.add_user("alice@example.com")
            service.start()
            forms = [(b"", b"E"), (OPENING, b"X"), (OPENING + b"DATA\r\n", b"x\r\n"), (OPENING + b"DATA\r\n", b""),
                     (OPENING + b"BDAT 1000000\r\n", b"x"), (OPENING + b"BDAT 1000000 LAST\r\n", b""),
                     (b"EHLO c\r\nSTARTTLS\r\n", b"")]
            dripping = [Dripping(service.smtp, *forms[number % (len(forms) - 1)]) for number in range(clients)]
            for client in dripping:
                client.start()
            for number in range(20):
                with smtplib.SMTP(*service.smtp, timeout=LIMIT) as client:
                    client.sendmail("bob@other.org", ["alice@example.com"], f"Subject: {number}\r\n\r\nx\r\n")
            wait_for("mail meanwhile", lambda: len(service.messages(token)) == 20)
            for client in dripping:
                client.join(LIMIT)
                self.assertFalse(client.is_alive())
                self.assertEqual(codes(client.answer)[-1:], [421], client.answer)
            longest = max(client.seconds for client in dripping)
            print(f"hostile: {clients} dripping clients, the last was sent away after {longest:.1f} s")
            self.assertEqual(service.stop(), 0)

    def test_floods_of_header_fields_and_octets(self):
        """A million header fields; a message far beyond the limit, by DATA and BDAT: refused, and memory stays bounded."""
        fields, octets = 1_000_000, 2 << 30 if TORTURE else 200 << 20
        limit = 50 << 20
        with Service(settings=["flows.inbound.before-accept=[validate]", "gateways.smtp.max-memory=100MiB"]) as service:
            token = service.add_user("alice@example.com")
            service.start()
            gateways, worker = service.children()["gateways"], service.children()["worker"]
            before = peak(gateways)
            answer = talk(service.smtp, [OPENING + b"DATA\r\n" + b"X: a\r\n" * fields + b"\r\n.\r\nQUIT\r\n"])
            self.assertEqual(codes(answer)[-2:], [550, 221], answer)
            self.assertIn(b"header", answer)
            flooded = peak(gateways)
            block = (b"x" * 998 + b"\r\n") * 1000
            for opening, end in [(OPENING + b"DATA\r\n", b".\r\nQUIT\r\n"), (OPENING + b"BDAT %d LAST\r\n" % octets, b"QUIT\r\n")]:
                with socket.create_connection(service.smtp, timeout=LIMIT) as client, client.makefile("rb") as replies:
                    client.sendall(opening)
                    left = octets
                    while left > 0:
                        client.sendall(block[:left])
                        left -= len(block[:left])
                    client.sendall((b"\r\n" if opening.endswith(b"DATA\r\n") else b"") + end)
                    answer = replies.read()
                self.assertEqual(codes(answer)[-2:], [552, 221], answer)
            self.assertEqual(codes(talk(service.smtp, [b"EHLO c\r\nMAIL FROM:<a@b.c> SIZE=%d\r\nQUIT\r\n" % octets]))[2], 552)
            most = peak(gateways)
            print(f"hostile: gateways' peak memory {before >> 20} MiB before, {flooded >> 20} MiB after {fields} header fields, "
                  f"{most >> 20} MiB after twice {octets >> 20} MiB against {limit >> 20} MiB; worker {peak(worker) >> 20} MiB")
            # The largest message that is taken, as it grows (twice), and no more.
            self.assertLess(most - before, 3 * limit)
            talk(service.smtp, [OPENING + b"DATA\r\nSubject: good\r\n\r\n.\r\nQUIT\r\n"])
            wait_for("mail afterwards", lambda: [m["subject"] for m in service.messages(token)] == ["good"])
            self.assertEqual(service.children()["gateways"], gateways)
            self.assertEqual(service.stop(), 0)

    def test_thousands_of_connections(self):
        """From one address: all but a few are refused, and the others' mail flows meanwhile."""
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        count = min(5000, most - 500)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        settings = ["gateways.smtp.limits-loopback=true", "gateways.smtp.max-connections=1000",
                    "gateways.smtp.connections-per-minute=0"]
        with Service(settings=settings) as service:
            token = service.add_user("alice@example.com")
            service.start()
            gateways = service.children()["gateways"]
            open_ones = []
            slowest = 0.0
            try:
                for number in range(count):
                    client = socket.socket()
                    client.settimeout(LIMIT)
                    client.bind(("127.0.0.2", 0))
                    client.connect(service.smtp)
                    open_ones.append(client)
                    if number % 500 == 499:
                        started = time.monotonic()
                        with smtplib.SMTP(*service.smtp, timeout=LIMIT, source_address=("127.0.0.3", 0)) as other:
                            other.sendmail("bob@other.org", ["alice@example.com"], f"Subject: {number}\r\n\r\nx\r\n")
                        slowest = max(slowest, time.monotonic() - started)
                greetings = [client.recv(100)[:4] for client in open_ones]
            finally:
                for client in open_ones:
                    client.close()
            self.assertEqual((greetings.count(b"220 "), greetings.count(b"421 ")), (50, count - 50))
            wait_for("mail meanwhile", lambda: len(service.messages(token)) == count // 500)
            print(f"hostile: {count} connections, 50 served; mail from elsewhere took {slowest * 1000:.0f} ms at most; "
                  f"gateways' peak memory {peak(gateways) >> 20} MiB")
            self.assertEqual(service.children()["gateways"], gateways)
            self.assertEqual(service.stop(), 0)

    def test_errors_are_answered_late(self):
        """A client that guesses recipients: each answer comes later than the one before, and then it is sent away."""
        settings = ["gateways.smtp.limits-loopback=true", "gateways.smtp.tarpit-after=2", "gateways.smtp.tarpit-delay=100ms",
                    "gateways.smtp.max-errors=6"]
        with Service(settings=settings) as service:
            service.add_user("alice@example.com")
            service.start()
            with smtplib.SMTP(*service.smtp, timeout=LIMIT) as client:
                client.ehlo("c")
                client.mail("a@b.c")
                waited = []
                for number in range(6):
                    started = time.monotonic()
                    waited.append((client.rcpt(f"user{number}@example.com")[0], time.monotonic() - started))
                self.assertEqual([code for code, _ in waited], [550] * 6)
                for (_, seconds), least in zip(waited, [0, 0, 0.1, 0.2, 0.4]):
                    self.assertGreaterEqual(seconds, least)
                self.assertEqual(client.getreply()[0], 421)
            self.assertEqual(service.stop(), 0)


if __name__ == "__main__":
    unittest.main()
