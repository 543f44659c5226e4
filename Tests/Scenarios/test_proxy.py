"""Behind HAProxy: the client's address comes by the PROXY protocol, from whom it is trusted and from nobody else."""
import os
import shutil
import smtplib
import socket
import ssl
import subprocess
import tempfile
import unittest

from service import LIMIT, Service, wait_for

HAPROXY = shutil.which("haproxy", path=os.environ["PATH"] + ":/usr/sbin")


class Balancer:
    """HAProxy in front of an address, on a free port."""

    def __init__(self, server, send):
        self.folder = tempfile.TemporaryDirectory(prefix="haproxy-")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.address = probe.getsockname()
        file = os.path.join(self.folder.name, "haproxy.cfg")
        with open(file, "w") as text:
            text.write(f"""
defaults
  mode tcp
  timeout connect 10s
  timeout client 60s
  timeout server 60s
listen smtp
  bind 127.0.0.1:{self.address[1]}
  server s1 {server[0]}:{server[1]} {send}
""")
        self.process = subprocess.Popen([HAPROXY, "-db", "-f", file], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

        def listens():
            assert self.process.poll() is None, "haproxy has ended"
            with socket.socket() as client:
                return client.connect_ex(self.address) == 0

        wait_for("haproxy", listens)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.folder.cleanup()


def deliver(client, subject):
    client.sendmail("bob@other.org", ["alice@example.com"], f"Subject: {subject}\r\n\r\nHello.\r\n")


class ProxyTests(unittest.TestCase):
    @unittest.skipUnless(HAPROXY, "needs haproxy: Scripts/setup test")
    def test_the_client_behind_haproxy(self):
        settings = ["gateways.smtp.proxy-protocol=[127.0.0.1]", "gateways.smtp.tls-listen=127.0.0.1:0",
                    "gateways.smtp.limits-loopback=true", "gateways.smtp.max-connections-per-address=1"]
        with Service(settings=settings) as service:
            token = service.add_user("alice@example.com")
            service.start()
            implicit = service.address("smtp.tls-listen")
            for number, send in enumerate(["send-proxy", "send-proxy-v2", "send-proxy-v2 proxy-v2-options unique-id"]):
                source = f"127.0.0.{number + 2}"
                with Balancer(service.smtp, send) as balancer:
                    with smtplib.SMTP(*balancer.address, timeout=LIMIT, source_address=(source, 0)) as client:
                        deliver(client, source)
                        # It is the client whose connections are counted, not the load balancer.
                        with socket.create_connection(balancer.address, LIMIT, source_address=(source, 0)) as second:
                            self.assertTrue(second.recv(100).startswith(b"421 4.7.0"))
                        with socket.create_connection(balancer.address, LIMIT, source_address=("127.0.0.9", 0)) as other:
                            self.assertTrue(other.recv(100).startswith(b"220 "))
            with Balancer(implicit, "send-proxy-v2") as balancer:
                anybody = ssl._create_unverified_context()
                with smtplib.SMTP_SSL(
                        *balancer.address, timeout=LIMIT, source_address=("127.0.0.8", 0), context=anybody) as client:
                    deliver(client, "127.0.0.8")
            with Balancer(service.smtp, "") as silent:
                with socket.create_connection(silent.address, LIMIT, source_address=("127.0.0.2", 0)) as client:
                    client.sendall(b"EHLO c\r\n")
                    self.assertEqual(client.recv(100), b"421 4.7.0 No PROXY header, closing connection\r\n")
            # Not from a load balancer: it is served, unless it says that it is one.
            with smtplib.SMTP(*service.smtp, timeout=LIMIT, source_address=("127.0.0.7", 0)) as client:
                deliver(client, "127.0.0.7")
            with socket.create_connection(service.smtp, LIMIT, source_address=("127.0.0.7", 0)) as liar:
                liar.sendall(b"PROXY TCP4 192.0.2.1 192.0.2.2 1 25\r\nEHLO c\r\n")
                with liar.makefile("rb") as replies:
                    self.assertEqual([line[:4] for line in replies], [b"220 ", b"421 "])
            mails = wait_for("five mails", lambda: len(service.messages(token)) == 5 and service.messages(token))
            for mail in mails:
                raw = service.raw(mail["id"], token).decode()
                self.assertIn(f"([{mail['subject']}])", raw[:raw.index("Subject:")])
            self.assertEqual(service.stop(), 0)

    def test_what_is_no_network(self):
        with Service(settings=["gateways.smtp.proxy-protocol=[10.0.0.1/8]"]) as service:
            result = service.command("check")
            self.assertEqual(result.returncode, 78, result.stderr)
            self.assertIn("“10.0.0.1/8” in proxy-protocol is no address or network", result.stderr)


if __name__ == "__main__":
    unittest.main()
