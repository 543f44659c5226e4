"""HTTP that is hostile, and sockets that are: what is answered, and whether the connection stays."""
import os
import ssl
import tempfile
import threading
import time
import unittest

from probe import Probe, read_all, reset, statuses
from service import LIMIT, wait_for
from test_tls import ANYBODY, make_certificate

HOST = b"Host: x\r\n"
GET = b"GET /ignore HTTP/1.1\r\n" + HOST + b"\r\n"
LAST = b"GET /last HTTP/1.1\r\n" + HOST + b"\r\n"  # answered by 404, if the connection is open


def get(target, fields=b"", version=b"HTTP/1.1", host=HOST):
    return b"GET " + target + b" " + version + b"\r\n" + host + fields + b"\r\n"


def post(fields, body=b"", path=b"/echo", version=b"HTTP/1.1"):
    return b"POST " + path + b" " + version + b"\r\n" + HOST + fields + b"\r\n" + body


def chunked(body, more=b""):
    return post(b"Transfer-Encoding: chunked\r\n" + more, body)


# What is sent, the codes that are answered, and whether the connection is open then.
CASES = [
    # Sound.
    ("length", post(b"Content-Length: 5\r\n", b"hello"), [200], True),
    ("chunked", chunked(b"5\r\nhello\r\n0\r\n\r\n"), [200], True),
    ("chunked, with extensions and trailers", chunked(b"5;a=b\r\nhello\r\n0\r\nT: v\r\n\r\n"), [200], True),
    ("pipelined", post(b"Content-Length: 5\r\n", b"hello") + GET, [200, 200], True),
    ("a hundred pipelined", GET * 100, [200] * 100, True),
    ("an empty line first", b"\r\n" + GET, [200], True),
    ("HEAD", GET.replace(b"GET", b"HEAD"), [200], True),
    ("absolute form", get(b"http://other.example/ignore?b"), [200], True),
    ("OPTIONS *", b"OPTIONS * HTTP/1.1\r\n" + HOST + b"\r\n", [404], True),
    ("an unknown method", b"BREW /nothing HTTP/1.1\r\n" + HOST + b"\r\n", [404], True),
    ("h2c, which is passed over",
     get(b"/ignore", b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"), [200], True),
    ("a body that nobody reads", post(b"Content-Length: %d\r\n" % len(GET), GET, b"/ignore"), [200], True),
    ("Expect, with the body", post(b"Content-Length: 5\r\nExpect: 100-continue\r\n", b"hello"), [200], True),
    # Sound, and the last.
    ("HTTP/1.0", get(b"/ignore", version=b"HTTP/1.0", host=b""), [200], False),
    ("Connection: close", get(b"/ignore", b"Connection: x, Close\r\n"), [200], False),
    ("two Connection fields", get(b"/ignore", b"Connection: close\r\nConnection: keep-alive\r\n"), [200], False),
    ("a long body that nobody reads", post(b"Content-Length: 1000000\r\n", GET, b"/ignore"), [200], False),
    ("Expect, and nobody reads", post(b"Content-Length: 5\r\nExpect: 100-continue\r\n", path=b"/ignore"), [200], False),
    ("a stream for HTTP/1.0", get(b"/stream", version=b"HTTP/1.0"), [200], False),
    # Where a body ends.
    ("both, the chunks shorter", chunked(b"0\r\n\r\n" + GET, b"Content-Length: 60\r\n"), [400], False),
    ("both, the length shorter", chunked(b"1e\r\nGET /x HTTP/1.1\r\nX: y\r\n0\r\n\r\n", b"Content-Length: 4\r\n"), [400], False),
    ("two lengths", post(b"Content-Length: 5\r\nContent-Length: 0\r\n", b"hello"), [400], False),
    ("two lengths, the first nothing", post(b"Content-Length: 0\r\nContent-Length: 35\r\n", GET), [400], False),
    ("two equal lengths", post(b"Content-Length: 5\r\nContent-Length: 5\r\n", b"hello"), [400], False),
    ("a list of lengths", post(b"Content-Length: 5, 5\r\n", b"hello"), [400], False),
    ("+5", post(b"Content-Length: +5\r\n", b"hello"), [400], False),
    ("5abc", post(b"Content-Length: 5abc\r\n", b"hello"), [400], False),
    ("-1", post(b"Content-Length: -1\r\n", b"hello"), [400], False),
    ("0x5", post(b"Content-Length: 0x5\r\n", b"hello"), [400], False),
    ("2^64 + 5", post(b"Content-Length: 18446744073709551621\r\n", b"hello"), [400], False),
    ("too long a length", post(b"Content-Length: 1048577\r\n"), [413], False),
    ("too long, and waits", post(b"Content-Length: 1048577\r\nExpect: 100-continue\r\n"), [413], False),
    ("a space before the colon", post(b"Content-Length : 5\r\n", b"hello"), [400], False),
    ("xchunked", post(b"Transfer-Encoding: xchunked\r\n", b"0\r\n\r\n" + GET), [501], False),
    ("gzip, chunked", post(b"Transfer-Encoding: gzip, chunked\r\n", b"0\r\n\r\n"), [501], False),
    ("chunked, identity", post(b"Transfer-Encoding: chunked, identity\r\n", b"0\r\n\r\n" + GET), [501], False),
    ("identity", post(b"Transfer-Encoding: identity\r\n", GET), [501], False),
    ("two codings", post(b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", b"0\r\n\r\n"), [400], False),
    ("chunked for HTTP/1.0", post(b"Transfer-Encoding: chunked\r\n", b"0\r\n\r\n" + GET, version=b"HTTP/1.0"), [400], False),
    ("a control byte before chunked", post(b"Transfer-Encoding:\x0bchunked\r\n", b"0\r\n\r\n"), [400], False),
    ("chunked on a folded line", post(b"Transfer-Encoding:\r\n chunked\r\n", b"0\r\n\r\n" + GET), [501], False),
    # Chunks.
    ("a size that overflows", chunked(b"10000000000000005\r\nhello\r\n0\r\n\r\n"), [400], False),
    ("a chunk of -1", chunked(b"-1\r\nhello\r\n0\r\n\r\n"), [400], False),
    ("a chunk of 0x5", chunked(b"0x5\r\nhello\r\n0\r\n\r\n"), [400], False),
    ("no size", chunked(b"\r\nhello\r\n0\r\n\r\n"), [400], False),
    ("a space behind the size", chunked(b"5 \r\nhello\r\n0\r\n\r\n"), [400], False),
    ("chunks with LF", chunked(b"5\nhello\n0\n\n"), [400], False),
    ("LF in an extension", chunked(b"5;a\nb\r\nhello\r\n0\r\n\r\n"), [400], False),
    ("long extensions", chunked(b"5;" + b"a" * 2000 + b"\r\nhello\r\n0\r\n\r\n"), [400], False),
    ("data without its end", chunked(b"5\r\nhelloXX0\r\n\r\n"), [400], False),
    ("a request for a trailer", chunked(b"0\r\n" + GET), [400], False),
    ("long trailers", chunked(b"0\r\n" + b"T: v\r\n" * 2000 + b"\r\n"), [400], False),
    ("a large chunk", chunked(b"fffffff\r\n"), [413], False),
    # Lines.
    ("a folded field", get(b"/ignore", b"X-A: b\r\n c\r\n"), [400], False),
    ("a folded first field", b"GET /ignore HTTP/1.1\r\n Host: y\r\n" + HOST + b"\r\n", [400], False),
    ("LF alone", b"GET /ignore HTTP/1.1\nHost: x\n\n", [400], False),
    ("one LF alone", get(b"/ignore", b"X: a\nContent-Length: 5\r\n"), [400], False),
    ("a bare CR", get(b"/ignore", b"X: a\rContent-Length: 5\r\n"), [400], False),
    ("CR CR LF", get(b"/ignore", b"X: a\r\r\n"), [400], False),
    ("NUL", get(b"/ignore", b"X: a\0b\r\n"), [400], False),
    ("a space in a name", get(b"/ignore", b"X Y: a\r\n"), [400], False),
    ("no name", get(b"/ignore", b": a\r\n"), [400], False),
    ("no colon", get(b"/ignore", b"junk\r\n"), [400], False),
    ("a name that is not ASCII", get(b"/ignore", "Ho\u017ft: y\r\n".encode()), [400], False),
    ("empty lines first", b"\r\n\r\n" + GET, [400], False),
    ("two spaces", b"GET  /ignore HTTP/1.1\r\n" + HOST + b"\r\n", [400], False),
    ("tabs", b"GET\t/ignore\tHTTP/1.1\r\n" + HOST + b"\r\n", [400], False),
    ("a space at the end", b"GET /ignore HTTP/1.1 \r\n" + HOST + b"\r\n", [400], False),
    ("HTTP/0.9", b"GET /ignore\r\n\r\n", [400], False),
    ("HTTP/1.2", get(b"/ignore", version=b"HTTP/1.2"), [505], False),
    ("HTTP/2.0", get(b"/ignore", version=b"HTTP/2.0"), [505], False),
    ("the preface of HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\x04\0\0\0\0\0", [400, 505], False),
    ("TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"a" * 300, [400], False),
    ("SMTP", b"EHLO client.example\r\n\r\n", [400], False),
    # Whom it is for.
    ("no Host", get(b"/ignore", host=b""), [400], False),
    ("two Hosts", get(b"/ignore", b"Host: y\r\n"), [400], False),
    ("a Host with a space", get(b"/ignore", host=b"Host: x y\r\n"), [400], False),
    ("a Host with a user", get(b"/ignore", host=b"Host: u@x\r\n"), [400], False),
    ("a Host with a path", get(b"/ignore", host=b"Host: x/y\r\n"), [400], False),
    ("CONNECT", b"CONNECT evil:443 HTTP/1.1\r\n" + HOST + b"\r\n", [400], False),
    ("a target with a user", get(b"http://u:p@x/ignore"), [400], False),
    ("another scheme", get(b"ftp://x/ignore"), [400], False),
    ("* for GET", get(b"*"), [400], False),
    # Paths.
    ("an encoded NUL", get(b"/a%00b"), [400], False),
    ("dot segments", get(b"/a/../../etc/passwd"), [400], False),
    ("encoded dot segments", get(b"/%2e%2e/%2E%2E/etc/passwd"), [400], False),
    ("encoded slashes", get(b"/..%2f..%2fetc/passwd"), [400], False),
    ("backslashes", get(b"/..\\..\\etc"), [400], False),
    ("half an encoding", get(b"/%4"), [400], False),
    ("overlong UTF-8", get(b"/%c0%ae%c0%ae/etc"), [400], False),
    ("a fragment", get(b"/ignore#a"), [400], False),
    ("bytes over 127", get(b"/\xff"), [400], False),
    # Too much.
    ("a field of a megabyte", get(b"/ignore", b"X: " + b"a" * 1_048_576 + b"\r\n"), [431], False),
    ("a target of a megabyte", get(b"/" + b"a" * 1_048_576), [431], False),
    ("a thousand fields", get(b"/ignore", b"X: a\r\n" * 1000), [431], False),
    ("an unknown expectation", post(b"Content-Length: 5\r\nExpect: magic\r\n", b"hello"), [417], False),
    # No WebSocket.
    ("no key", get(b"/ws", b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"), [400], True),
    ("another version", get(b"/ws", b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 8\r\n"), [426], True),
    ("no upgrade", get(b"/ws"), [426], True),
    ("another page",
     get(b"/ws", b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
         b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nOrigin: http://evil.example\r\n"), [403], True),
]


class HostileHTTPTests(unittest.TestCase):
    def test_every_case(self):
        with Probe() as probe:
            for name, request, codes, is_open in CASES:
                with self.subTest(name), probe.connect() as client:
                    try:
                        client.sendall(request)
                        if is_open:
                            client.sendall(LAST.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
                    except ConnectionError:
                        self.assertFalse(is_open)  # refused before its end
                    answer = read_all(client)  # its end is the server's: we do not close
                    found = statuses(answer)
                    if is_open:
                        self.assertEqual(found, codes + [404], answer[:500])
                    else:
                        self.assertIn(found, [codes, *([code] for code in codes)], answer[:500])
            self.assertIsNone(probe.process.poll())

    def test_who_waits_is_told_to_go_on(self):
        with Probe() as probe, probe.connect() as client:
            client.sendall(post(b"Content-Length: 5\r\nExpect: 100-continue\r\n"))
            self.assertEqual(client.recv(1000), b"HTTP/1.1 100 Continue\r\n\r\n")
            client.sendall(b"hello")
            self.assertEqual(statuses(client.recv(1000)), [200])


class HostileSocketTests(unittest.TestCase):
    """Each with a server of its own, with short limits, which must serve others all the while."""

    def serving(self, **limits):
        probe = Probe(**limits).__enter__()
        self.addCleanup(probe.__exit__)
        return probe

    def assert_serves(self, probe):
        with probe.connect() as client:
            client.sendall(get(b"/ignore", b"Connection: close\r\n"))
            self.assertEqual(statuses(read_all(client)), [200])

    def large_file(self, size=64 << 20):
        folder = tempfile.TemporaryDirectory(prefix="mailflow-")
        self.addCleanup(folder.cleanup)
        path = os.path.join(folder.name, "large")
        with open(path, "wb") as file:
            file.truncate(size)
        return path

    def test_a_byte_at_a_time(self):
        probe = self.serving()
        with probe.connect() as client:
            for byte in chunked(b"5\r\nhello\r\n0\r\n\r\n") + get(b"/ignore", b"Connection: close\r\n"):
                client.sendall(bytes([byte]))
            self.assertEqual(statuses(read_all(client)), [200, 200])

    def test_half_closed(self):
        probe = self.serving()
        for sent, codes in [(GET + GET, [200, 200]), (b"", []), (GET + b"GET /cut", [200]),
                            (post(b"Content-Length: 5\r\n", b"he"), [400]), (chunked(b"5\r\nhel"), [400])]:
            with self.subTest(sent), probe.connect() as client:
                client.sendall(sent)
                client.shutdown(1)
                self.assertEqual(statuses(read_all(client)), codes)

    def test_resets(self):
        probe = self.serving(file=self.large_file())
        for sent in [b"", b"GET", post(b"Content-Length: 500000\r\n", b"x" * 100_000), chunked(b"fff\r\nxxx"),
                     get(b"/file"), get(b"/stream?count=10000000"), get(b"/slow?ms=50"), GET * 1000]:
            for wait in [False, True]:
                client = probe.connect(receive_buffer=8192)
                client.sendall(sent)
                if wait and (b"/file" in sent or b"/stream" in sent):
                    client.recv(10)
                reset(client)
        self.assert_serves(probe)
        # What the clients have left behind is put away.
        wait_for("nobody is served any more", lambda: len(os.listdir(f"/proc/{probe.process.pid}/fd")) < 20)

    def drip(self, probe, first, connect=None):
        """A byte every 20 ms until the server ends it; the seconds that took, and what came."""
        client = (connect or probe.connect)()
        begin = time.monotonic()
        try:
            client.sendall(first)
            client.settimeout(0.02)
            while time.monotonic() - begin < LIMIT:
                try:
                    answer = client.recv(1000)
                    return time.monotonic() - begin, answer
                except TimeoutError:
                    client.sendall(b"x")
        except OSError:
            return time.monotonic() - begin, b""
        finally:
            client.close()
        self.fail("it is kept")

    def test_slow_loris(self):
        probe = self.serving(head=400, body=400, idle=60_000)
        for first in [b"G", b"GET /ignore HTTP/1.1\r\nHost: x\r\nX: ", post(b"Content-Length: 100000\r\n"),
                      chunked(b"fff\r\n"), chunked(b"1;"), chunked(b"0\r\nT: ")]:
            with self.subTest(first):
                seconds, answer = self.drip(probe, first)
                self.assertEqual(statuses(answer), [408])
                self.assertGreater(seconds, 0.3)
        self.assert_serves(probe)

    def test_many_slow_ones_at_once(self):
        probe = self.serving(head=60_000)
        clients = [probe.connect() for _ in range(400)]
        for client in clients:
            client.sendall(b"GET /ignore HTTP/1.1\r\nHost: x\r\nX: a")
        for _ in range(20):
            self.assert_serves(probe)
        for client in clients:
            client.close()

    def test_idle(self):
        probe = self.serving(idle=200)
        for sent, codes in [(b"", []), (GET, [200])]:
            with probe.connect() as client:
                client.sendall(sent)
                self.assertEqual(statuses(read_all(client)), codes)

    def test_who_never_reads(self):
        probe = self.serving(file=self.large_file(), write=700, idle=1500)
        self.assert_serves(probe)
        before = probe.resident()
        clients = [probe.connect(receive_buffer=8192) for _ in range(30)]
        for number, client in enumerate(clients):
            client.sendall([get(b"/file"), get(b"/stream?count=100000000"), GET * 2000][number % 3])
        self.assert_serves(probe)
        self.assertLess(probe.resident() - before, 16 << 20)
        wait_for("they are sent away", lambda: len(os.listdir(f"/proc/{probe.process.pid}/fd")) < 20)
        for client in clients:
            client.close()

    def test_a_flood_of_pipelined_requests(self):
        """Whoever sends without reading is not read from any more, and the others are served."""
        probe = self.serving(write=1500)
        before = probe.resident()
        sent = [0]

        def flood(client):
            try:
                while True:
                    sent[0] += client.send(GET * 100)
            except OSError:
                pass  # sent away

        clients = [probe.connect(receive_buffer=8192) for _ in range(4)]
        threads = [threading.Thread(target=flood, args=(client,)) for client in clients]
        for thread in threads:
            thread.start()
        for _ in range(20):
            self.assert_serves(probe)
        for thread in threads:
            thread.join(LIMIT)
            self.assertFalse(thread.is_alive())
        self.assertLess(probe.resident() - before, 16 << 20)
        for client in clients:
            client.close()

    def test_a_shutdown_answers_what_has_begun(self):
        probe = self.serving()
        with probe.connect() as idle, probe.connect() as busy, probe.connect() as fresh:
            idle.sendall(GET)
            self.assertEqual(statuses(idle.recv(1000)), [200])
            busy.sendall(get(b"/slow?ms=1000") + GET)
            fresh.sendall(b"GET /ign")
            self.assert_serves(probe)  # so that all of it has arrived
            begin = time.monotonic()
            stopping = threading.Thread(target=lambda: self.assertEqual(probe.stop(), 0))
            stopping.start()
            self.assertEqual(read_all(idle), b"")  # at once, not after its 60 s
            answer = read_all(busy)
            self.assertEqual(statuses(answer), [200])  # and what is pipelined behind it is not begun
            self.assertIn(b"Connection: close\r\n", answer)
            with self.assertRaises(OSError):
                probe.connect()
            fresh.close()
            stopping.join(LIMIT)
            self.assertLess(time.monotonic() - begin, 9)

    def test_tls(self):
        with tempfile.TemporaryDirectory() as folder:
            probe = self.serving(
                certificate=make_certificate(folder, "localhost"), head=400, file=self.large_file(8 << 20))

            def secure():
                return ANYBODY.wrap_socket(probe.connect(), suppress_ragged_eofs=False)

            # A handshake that drips, stops, or is none.
            hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"
            seconds, answer = self.drip(probe, hello)
            self.assertGreater(seconds, 0.3)
            self.assertEqual(statuses(answer), [])
            with probe.connect() as silent:
                self.assertEqual(read_all(silent), b"")
            with probe.connect() as plain:
                plain.sendall(GET)
                self.assertEqual(statuses(read_all(plain)), [])
            seconds, answer = self.drip(probe, b"GET /ignore HT", secure)
            self.assertEqual(statuses(answer), [408])
            # Gone without a goodbye, in the middle of either direction.
            for sent in [post(b"Content-Length: 5000\r\n", b"x"), get(b"/file")]:
                client = secure()
                client.sendall(sent)
                reset(client)
            with secure() as client:
                client.sendall(get(b"/file", b"Connection: close\r\n"))
                count = 0
                while piece := client.recv(65536):
                    count += len(piece)
                self.assertGreater(count, 8 << 20)
            self.assertIsNone(probe.process.poll())


if __name__ == "__main__":
    unittest.main()
