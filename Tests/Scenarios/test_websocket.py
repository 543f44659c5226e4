"""WebSocket with somebody else's client (PyPI `websockets`), and frames that no client sends."""
import base64
import glob
import hashlib
import os
import struct
import sys
import threading
import time
import unittest

from probe import Probe, read_all
from service import LIMIT, wait_for
from test_tls import make_certificate

sys.path += glob.glob(os.path.join(os.path.dirname(__file__), "../../.build/python/lib/python3*/site-packages"))
try:
    from websockets.exceptions import ConnectionClosed
    from websockets.sync.client import connect
except ImportError:
    connect = None

KEY = base64.b64encode(b"sixteen bytes...").decode()
HANDSHAKE = (
    f"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: WebSocket\r\nConnection: keep-alive, upgrade\r\nSec-WebSocket-Key: {KEY}\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: other, chat\r\nOrigin: http://here.example\r\n"
    "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n").encode()


def frame(opcode, payload=b"", masked=True, final=True, reserved=0, says=None):
    """A frame, also one that is wrong: `says` is the length that it gives."""
    count = len(payload) if says is None else says
    mask = 0x80 if masked else 0
    head = bytes([final << 7 | reserved << 4 | opcode])
    if count < 126:
        head += bytes([mask | count])
    elif count < 65536:
        head += bytes([mask | 126]) + struct.pack("!H", count)
    else:
        head += bytes([mask | 127]) + struct.pack("!Q", count)
    if masked:
        key = b"\x01\x02\x03\x04"
        head += key
        payload = bytes(byte ^ key[index % 4] for index, byte in enumerate(payload))
    return head + payload


def frames(data):
    """What a server has sent: opcode and payload of each."""
    found = []
    while len(data) >= 2:
        count, start = data[1] & 127, 2
        if count == 126:
            count, start = struct.unpack("!H", data[2:4])[0], 4
        elif count == 127:
            count, start = struct.unpack("!Q", data[2:10])[0], 10
        found.append((data[0] & 15, data[start:start + count]))
        data = data[start + count:]
    return found


def raw(probe, data):
    """Everything that is answered to frames, up to the server's end."""
    with probe.connect() as client:
        client.sendall(HANDSHAKE)
        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += client.recv(1000)
        head, rest = answer.split(b"\r\n\r\n", 1)
        assert head.startswith(b"HTTP/1.1 101 "), head
        try:
            client.sendall(data)
        except ConnectionError:
            pass  # refused before its end
        return frames(rest + read_all(client))


def closing(code):
    return struct.pack("!H", code)


# Each is the last thing that a client sends, behind a message that is echoed; how the server says that it is enough.
REFUSED = [
    ("not masked", frame(1, b"x", masked=False), 1002),
    ("a reserved bit", frame(1, b"x", reserved=4), 1002),
    ("a reserved opcode", frame(3, b"x"), 1002),
    ("a control frame in pieces", frame(9, b"x", final=False), 1002),
    ("a long control frame", frame(9, b"x" * 126), 1002),
    ("a piece of nothing", frame(0, b"x"), 1002),
    ("a message within another", frame(1, b"x", final=False) + frame(1, b"x"), 1002),
    ("100 MB, as it says", frame(2, b"x" * 100, says=100 << 20), 1009),
    ("2^63, as it says", frame(2, b"x", says=1 << 63), 1002),
    ("8 MB in pieces", frame(2, b"x" * 65536, final=False) + frame(0, b"x" * 65536, final=False) * 127, 1009),
    ("not UTF-8", frame(1, b"\xff\xfe"), 1007),
    ("not UTF-8 at the seam", frame(1, b"\xe2\x82", final=False) + frame(0, b"\x28"), 1007),
    ("1005 as a code", frame(8, closing(1005)), 1002),
    ("half a code", frame(8, b"\x03"), 1002),
    ("a reason that is not UTF-8", frame(8, closing(1000) + b"\xff"), 1007),
    ("a close", frame(8, closing(1000) + b"bye") + frame(1, b"late"), 1000),
    ("a close without a code", frame(8), 1000),
    ("a code of its own", frame(8, closing(4321)), 4321),
]


class RawWebSocketTests(unittest.TestCase):
    def test_handshake(self):
        with Probe() as probe, probe.connect() as client:
            client.sendall(HANDSHAKE + frame(1, b"at once"))
            answer = client.recv(2000)
            accept = base64.b64encode(hashlib.sha1((KEY + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest())
            self.assertIn(b"Sec-WebSocket-Accept: " + accept + b"\r\n", answer)
            self.assertIn(b"Sec-WebSocket-Protocol: chat\r\n", answer)
            self.assertNotIn(b"Sec-WebSocket-Extensions", answer)
            self.assertNotIn(b"Content-Length", answer)
            while b"at once" not in answer:
                answer += client.recv(2000)

    def test_what_is_refused(self):
        with Probe() as probe:
            for name, data, code in REFUSED:
                with self.subTest(name):
                    found = raw(probe, frame(1, b"hi") + frame(9, b"p") + data)
                    self.assertEqual([opcode for opcode, _ in found], [1, 10, 8], found)
                    self.assertEqual(found[2][1][:2], closing(code))
            self.assertIsNone(probe.process.poll())

    def test_silence_and_slowness(self):
        with Probe(ping=300, message=300) as probe:
            begin = time.monotonic()
            self.assertEqual(raw(probe, b""), [(9, b"")])  # asked once, then given up
            self.assertGreater(time.monotonic() - begin, 0.5)
            with probe.connect() as client:  # a message that drips
                client.sendall(HANDSHAKE)
                client.recv(2000)
                begin = time.monotonic()
                with self.assertRaises(ConnectionError):
                    client.sendall(frame(1, b"x" * 100, final=False))
                    while time.monotonic() - begin < LIMIT:
                        client.sendall(frame(0, b"x", final=False))
                        time.sleep(0.02)

    def test_who_does_not_read(self):
        """Neither echoes nor what others have for a slow client are kept without end."""
        with Probe(write=700) as probe:
            before = probe.resident()
            for first in [frame(1, b"flood"), frame(9, b"p" * 125) * 2000 + frame(2, b"x" * 60_000) * 200]:
                with probe.connect(receive_buffer=8192) as client:
                    client.sendall(HANDSHAKE)
                    client.recv(500)
                    try:
                        while True:
                            client.sendall(first)
                            time.sleep(0.01)
                    except ConnectionError:
                        pass
            self.assertLess(probe.resident() - before, 32 << 20)

    def test_a_shutdown_says_goodbye(self):
        with Probe() as probe, probe.connect() as client:
            client.sendall(HANDSHAKE)
            answer = client.recv(2000)
            stopping = threading.Thread(target=probe.stop)
            stopping.start()
            client.settimeout(LIMIT)
            found = frames(client.recv(100))
            self.assertEqual(found, [(8, closing(1001))], answer)
            client.sendall(frame(8, closing(1001)))
            self.assertEqual(client.recv(100), b"")
            stopping.join(LIMIT)
            self.assertEqual(probe.process.returncode, 0)


@unittest.skipIf(connect is None, "no WebSocket client: Scripts/setup test installs PyPI's websockets")
class ClientTests(unittest.TestCase):
    def test_messages_come_back(self):
        with Probe() as probe:
            with connect("ws://%s:%d/ws" % probe.address, subprotocols=["chat"], max_size=None) as client:
                self.assertEqual(client.subprotocol, "chat")
                for message in ["", "grüße, 안녕", "x" * 70_000, b"", bytes(range(256)) * 4000]:
                    client.send(message)
                    self.assertEqual(client.recv(timeout=LIMIT), message)
                client.send(["in ", "several ", "pieces"])
                self.assertEqual(client.recv(timeout=LIMIT), "in several pieces")
                client.ping(b"there?").wait(LIMIT)
                client.send("later")
                self.assertEqual([client.recv(timeout=LIMIT) for _ in range(3)], [f"later {n}" for n in range(3)])
                client.send("close")
                with self.assertRaises(ConnectionClosed) as closed:
                    client.recv(timeout=LIMIT)
                self.assertEqual((closed.exception.rcvd.code, closed.exception.rcvd.reason), (4000, "as you wish"))

    def test_by_tls(self):
        import ssl
        import tempfile
        with tempfile.TemporaryDirectory() as folder:
            file = make_certificate(folder, "localhost")
            with Probe(certificate=file) as probe:
                context = ssl.create_default_context(cafile=file)
                with connect("wss://localhost:%d/ws" % probe.address[1], ssl=context, sock=probe.connect()) as client:
                    client.send("x" * 300_000)
                    self.assertEqual(len(client.recv(timeout=LIMIT)), 300_000)

    def test_many_at_once(self):
        with Probe() as probe:
            clients = [connect("ws://%s:%d/ws" % probe.address) for _ in range(100)]
            for number, client in enumerate(clients):
                client.send(str(number))
            for number, client in enumerate(clients):
                self.assertEqual(client.recv(timeout=LIMIT), str(number))
            for client in clients:
                client.close()
            wait_for("all are gone", lambda: len(os.listdir(f"/proc/{probe.process.pid}/fd")) < 20)


if __name__ == "__main__":
    unittest.main()
