"""Starts `http-probe`, a server of our HTTP and WebSocket with a handler of each kind, and ends it by its process id."""
import os
import re
import signal
import socket
import struct
import subprocess
import threading

from service import BINARY, LIMIT

PROBE = os.path.join(os.path.dirname(BINARY), "http-probe")


class Probe:
    """`http-probe` with these settings: `file`, `certificate`, and limits in milliseconds."""

    def __init__(self, **settings):
        self.settings = [f"{name}={value}" for name, value in settings.items()]

    def __enter__(self):
        self.process = subprocess.Popen([PROBE, *self.settings], stdout=subprocess.PIPE, text=True)
        timer = threading.Timer(10, self.process.kill)
        timer.start()
        line = self.process.stdout.readline()
        timer.cancel()
        host, port = line.strip().rsplit(":", 1)
        self.address = host, int(port)
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()

    def stop(self):
        """SIGTERM and the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(LIMIT)

    def connect(self, receive_buffer=None):
        client = socket.socket()
        client.settimeout(LIMIT)
        if receive_buffer:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        client.connect(self.address)
        return client

    def resident(self):
        """Bytes."""
        with open(f"/proc/{self.process.pid}/status") as status:
            return next(int(row.split()[1]) * 1024 for row in status if row.startswith("VmRSS:"))


def reset(client):
    """Closes with a reset."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


def read_all(client):
    """Everything up to the peer's end; a reset is an end, too."""
    answer = b""
    try:
        while piece := client.recv(65536):
            answer += piece
    except ConnectionError:
        pass
    return answer


def statuses(answer):
    return [int(code) for code in re.findall(rb"HTTP/1\.1 (\d{3}) ", answer)]
