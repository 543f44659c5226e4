"""TLS with the clients of others: Python's ssl, openssl s_client; certificates that change while the service runs."""
import http.client
import os
import re
import smtplib
import socket
import ssl
import subprocess
import tempfile
import time
import unittest

from service import LIMIT, Service, wait_for

ANYBODY = ssl._create_unverified_context()
CONTENT = b"Subject: %b\r\n\r\nIt works.\r\n"


def make_certificate(folder, name, days=30):
    """Certificate and key in one file, by openssl."""
    file = os.path.join(folder, name + ".pem")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", str(days),
         "-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}", "-keyout", file + ".key", "-out", file],
        check=True, capture_output=True)
    with open(file, "a") as whole, open(file + ".key") as key:
        whole.write(key.read())
    os.remove(file + ".key")
    os.chmod(file, 0o600)
    return file


def s_client(address, *words, say=b"", limit=LIMIT):
    """What openssl's own client prints."""
    result = subprocess.run(
        ["openssl", "s_client", "-connect", "%s:%d" % address, *words], input=say, capture_output=True, timeout=limit)
    return (result.stdout + result.stderr).decode(errors="replace")


class TLSTests(unittest.TestCase):
    def test_mail_comes_encrypted_out_of_the_box(self):
        settings = ["gateways.smtp.tls-listen=127.0.0.1:0", "gateways.smtp.hostname=mx.example.com"]
        with Service(settings=settings) as service:
            token = service.add_user("alice@example.com")
            service.start()
            made = os.path.join(service.data, "self-signed.pem")
            self.assertEqual(os.stat(made).st_mode & 0o777, 0o600)
            ours = ssl.create_default_context(cafile=made)  # it names the host, and its signature is right
            implicit = service.address("smtp.tls-listen")
            with smtplib.SMTP(*service.smtp, timeout=LIMIT) as client:
                client._host = "mx.example.com"
                client.starttls(context=ours)
                self.assertNotIn("starttls", client.esmtp_features)
                client.ehlo()
                self.assertNotIn("starttls", client.esmtp_features)
                client.sendmail("bob@other.org", ["alice@example.com"], CONTENT % b"starttls")
            with smtplib.SMTP_SSL(*implicit, timeout=LIMIT, context=ANYBODY) as client:
                client.sendmail("bob@other.org", ["alice@example.com"], CONTENT % b"implicit")
            with smtplib.SMTP(*service.smtp, timeout=LIMIT) as client:
                client.sendmail("bob@other.org", ["alice@example.com"], CONTENT % b"plain")
            mails = wait_for("three mails", lambda: len(service.messages(token)) == 3 and service.messages(token))
            for mail in mails:
                raw = service.raw(mail["id"], token).decode()
                if mail["subject"] == "plain":
                    self.assertIn("by mx.example.com with ESMTP id", raw)
                else:
                    self.assertRegex(raw, r"by mx\.example\.com with ESMTPS \(TLSv1\.3 TLS_[A-Z0-9_]+\)\r\n\tid ")
            self.assertEqual(service.stop(), 0)

    def test_what_is_agreed_upon(self):
        with Service(settings=["gateways.smtp.tls-listen=127.0.0.1:0", "gateways.web.tls-certificate=self-signed"]) as service:
            service.start()
            implicit = service.address("smtp.tls-listen")
            self.assertIn("Cipher is ECDHE-ECDSA-AES256-GCM-SHA384", s_client(implicit, "-tls1_2"))
            for words in (["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"], ["-tls1_2", "-cipher", "AES128-SHA"],
                          ["-tls1_2", "-cipher", "aNULL:@SECLEVEL=0"]):
                self.assertIn("Cipher is (NONE)", s_client(implicit, *words), words)
            for version in ("-tls1_2", "-tls1_3"):
                with tempfile.NamedTemporaryFile() as ticket:
                    talk = ["-ign_eof", version]
                    self.assertIn("New, TLS", s_client(implicit, *talk, "-sess_out", ticket.name, say=b"QUIT\r\n"))
                    self.assertIn("Reused, TLS", s_client(implicit, *talk, "-sess_in", ticket.name, say=b"QUIT\r\n"))
            # Renegotiation: `R` asks for it.
            with subprocess.Popen(
                    ["openssl", "s_client", "-connect", "%s:%d" % implicit, "-tls1_2"],
                    stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as client:
                while not client.stdout.readline().startswith(b"220 "):
                    pass  # asked for before the greeting, openssl's client does not take it
                client.stdin.write(b"R\n")
                client.stdin.flush()
                self.assertIn(b"no renegotiation", client.stdout.read())  # which ends it
            # A protocol that is not spoken here, for which a browser could be made to come.
            self.assertIn("alert no application protocol", s_client(service.web, "-alpn", "h2"))
            self.assertIn("ALPN protocol: http/1.1", s_client(service.web, "-alpn", "h2,http/1.1"))
            web = http.client.HTTPSConnection(*service.web, timeout=LIMIT, context=ANYBODY)
            for _ in range(2):
                web.request("GET", "/livez")
                response = web.getresponse()
                self.assertEqual((response.status, bool(response.read())), (200, True))
            web.close()
            with socket.create_connection(service.web, timeout=LIMIT) as plain:
                plain.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
                answer = b""
                while piece := plain.recv(4096):
                    answer += piece
                self.assertNotIn(b"HTTP", answer)
            self.assertEqual(service.stop(), 0)

    def test_a_certificate_is_renewed_while_it_runs(self):
        with tempfile.TemporaryDirectory() as folder:
            first, second = make_certificate(folder, "first.example"), make_certificate(folder, "second.example", days=2)
            certificate = os.path.join(folder, "current.pem")
            os.symlink(first, certificate)
            settings = [f"gateways.smtp.tls-certificate={certificate}"]

            def shown(service):
                return re.search(r"subject=CN ?= ?(\S+)", s_client(service.smtp, "-starttls", "smtp")).group(1)

            with Service(settings=settings) as service:
                service.start()
                self.assertEqual(shown(service), "first.example")
                with smtplib.SMTP(*service.smtp, timeout=LIMIT) as old:
                    old.starttls(context=ANYBODY)
                    os.symlink(second, certificate + ".new")
                    os.rename(certificate + ".new", certificate)
                    wait_for("the new certificate", lambda: shown(service) == "second.example")
                    self.assertEqual(old.noop()[0], 250)  # whoever was there stays
                wait_for("a warning", lambda: any(re.search("expires in [12] days", line) for line in service.errors))
                with open(second, "w") as broken:
                    broken.write("-----BEGIN")
                time.sleep(1.1)  # the files are looked at once a second
                self.assertEqual(shown(service), "second.example")
                wait_for("a warning", lambda: any("the old certificate stays" in line for line in service.errors))
                self.assertEqual(service.stop(), 0)

    def test_files_that_cannot_be_used(self):
        with tempfile.TemporaryDirectory() as folder:
            one, other = make_certificate(folder, "one"), make_certificate(folder, "other")
            for certificate, key, words in [("/nowhere.pem", one, "cannot read /nowhere.pem: No such file"),
                                            (one, other, "is not that of the certificate in"),
                                            ("/etc/passwd", one, "/etc/passwd holds no certificate in PEM form")]:
                settings = [f"gateways.smtp.tls-certificate={certificate}", f"gateways.smtp.tls-key={key}"]
                with Service(settings=settings) as service:
                    with self.assertRaises(AssertionError) as failure:
                        service.start()
                    self.assertIn(words, str(failure.exception))
            os.chmod(other, 0o644)
            with Service(settings=[f"gateways.smtp.tls-certificate={other}"]) as service:
                service.start()
                wait_for("a warning", lambda: any("can be read by others" in line for line in service.errors))


if __name__ == "__main__":
    unittest.main()
