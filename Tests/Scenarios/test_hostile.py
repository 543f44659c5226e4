"""Hostile clients against the built binary: what is refused, what is never taken, and what a 250 is worth while it stops."""
import random
import re
import signal
import socket
import threading
import unittest

from service import LIMIT, Service, wait_for

HOST = b"Host: x\r\n"
POST = b"POST /livez HTTP/1.1\r\n" + HOST
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
HIDDEN = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"

# Two readers could take each of these for different requests, or they are too much: one refusal, then the end.
REFUSED = [
    (POST + b"Content-Length: 40\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + HIDDEN, 400),
    (POST + b"Content-Length: 0\r\nContent-Length: 35\r\n\r\n" + HIDDEN, 400),
    (POST + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello" + HIDDEN, 400),
    (POST + b"Content-Length : 5\r\n\r\nhello" + HIDDEN, 400),
    (POST + b"Content-Length: 18446744073709551621\r\n\r\nhello" + HIDDEN, 400),
    (POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + HIDDEN, 501),
    (POST + b"Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n" + HIDDEN, 400),
    (POST + b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n" + HIDDEN, 501),
    (POST.replace(b"1.1", b"1.0") + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + HIDDEN, 400),
    (CHUNKED + b"10000000000000005\r\nhello\r\n0\r\n\r\n", 400),
    (CHUNKED + b"5\nhello\n0\n\n" + HIDDEN, 400),
    (CHUNKED + b"5;a\nb\r\nhello\r\n0\r\n\r\n" + HIDDEN, 400),
    (CHUNKED + b"5\r\nhelloXX0\r\n\r\n" + HIDDEN, 400),
    (CHUNKED + b"0\r\n" + HIDDEN, 400),
    (b"GET /livez HTTP/1.1\r\n Host: y\r\n" + HOST + b"\r\n", 400),
    (b"GET /livez HTTP/1.1\nHost: x\n\n", 400),
    (b"GET /livez HTTP/1.1\r\nHost: x\r\nX: a\rContent-Length: 5\r\n\r\n" + HIDDEN, 400),
    (b"GET /livez HTTP/1.1\r\nHost: x\r\nX: a\0b\r\n\r\n", 400),
    (b"GET /livez HTTP/1.1\r\n\r\n", 400),
    (b"GET /livez HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", 400),
    (b"GET /livez HTTP/1.1\r\nHost: x y\r\n\r\n", 400),
    (b"GET http://u:p@x/livez HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    (b"GET /%2e%2e/livez HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    (b"GET /a%00b HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    (b"GET /" + b"a" * 1_000_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 431),
    (b"GET / HTTP/1.1\r\n" + HOST + b"X: a\r\n" * 1000 + b"\r\n", 431),
    (POST + b"Content-Length: 65537\r\n\r\n", 413),
    (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"a" * 300, 400),
]

ENDS = [b"\n.\n", b"\n.\r\n", b"\r.\r", b"\r\n.\n", b"\r\n.\r", b"\r.\r\n", b"\r\n.\r\r\n", b"\r\n\0.\r\n", b"\r\n. \r\n"]
OPENING = b"EHLO c\r\nMAIL FROM:<a@b.c>\r\nRCPT TO:<alice@example.com>\r\nDATA\r\n"
EVIL = b"MAIL FROM:<evil@b.c>\r\nRCPT TO:<alice@example.com>\r\nDATA\r\nSubject: evil\r\n\r\n.\r\n"


def talk(address, data):
    """Everything that is answered; a reset is an end, too."""
    answer = b""
    with socket.create_connection(address, timeout=LIMIT) as client:
        try:
            client.sendall(data)
            client.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # it was refused before its end
        try:
            while piece := client.recv(65536):
                answer += piece
        except ConnectionError:
            pass
    return answer


class HostileTests(unittest.TestCase):
    def test_refusals(self):
        with Service() as service:
            token = service.add_user("alice@example.com")
            service.start()
            children = service.children()
            for request, status in REFUSED:
                with self.subTest(request=request[:200]):
                    answer = talk(service.web, request)
                    self.assertEqual(re.findall(rb"HTTP/1\.1 (\d+) ", answer), [b"%d" % status])
            for end in ENDS:
                with self.subTest(end=end):
                    answer = talk(service.smtp, OPENING + b"Subject: outside\r\n\r\nx" + end + EVIL + b"QUIT\r\n")
                    self.assertEqual(len(re.findall(rb"^354 ", answer, re.M)), 1)
            for other in (b"POST /" + b"a" * 3000, b"POST /", b"\x16\x03\x01\0"):
                answer = talk(service.smtp, other + b" HTTP/1.1\r\n" + OPENING + b"Subject: evil\r\n\r\n.\r\n")
                self.assertEqual(re.findall(rb"^(\d+) ", answer, re.M), [b"220", b"421"])
            talk(service.smtp, OPENING + b"Subject: evil\r\n\r\ncut off\r\n.\r")
            self.assertIn(b"queued as", talk(service.smtp, OPENING + b"Subject: last\r\n\r\n.\r\nQUIT\r\n"))
            wait_for("the last mail", lambda: "last" in [mail["subject"] for mail in service.messages(token)])
            self.assertNotIn("evil", [mail["subject"] for mail in service.messages(token)])
            self.assertEqual(service.children(), children)  # nobody fell over

    def test_what_is_accepted_while_it_stops_is_there(self):
        with Service() as service:
            token = service.add_user("alice@example.com")
            service.start()
            accepted = []
            clients = [threading.Thread(target=self.send_on, args=(service.smtp, seed, accepted)) for seed in range(20)]
            for client in clients:
                client.start()
            wait_for("mail in flight", lambda: len(accepted) >= 50)
            service.process.send_signal(signal.SIGTERM)
            # Long before the supervisor would kill what does not end.
            self.assertEqual(service.process.wait(15), 0)
            for client in clients:
                client.join(LIMIT)
                self.assertFalse(client.is_alive())  # everybody was sent away
            service.process.stdout.close()
            service.start()
            wait_for("all that was accepted", lambda: {m["subject"] for m in service.messages(token)} >= set(accepted))

    @staticmethod
    def send_on(address, seed, accepted):
        """Mail after mail, in bursts and in pieces, until the server says 421 or goes."""
        choice = random.Random(seed)
        try:
            with socket.create_connection(address, timeout=LIMIT) as client, client.makefile("rb") as replies:
                client.sendall(b"EHLO c\r\n")
                number = 0
                while True:
                    number += 1
                    subject = f"{seed}.{number}"
                    mail = OPENING[8:] + f"Subject: {subject}\r\n\r\n".encode() + b"y" * 70 * choice.choice([0, 1, 200]) + b"\r\n.\r\n"
                    step = choice.choice([len(mail), 1000])
                    for start in range(0, len(mail), step):
                        client.sendall(mail[start:start + step])
                    while b"queued as" not in (reply := replies.readline()):
                        if not reply or reply.startswith(b"421"):
                            return
                    accepted.append(subject)
        except OSError:
            pass


if __name__ == "__main__":
    unittest.main()
