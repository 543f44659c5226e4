"""A Kafka that asks who we are: SASL, TLS, access rules; the right credentials, and what wrong ones are answered."""
import os
import re
import smtplib
import subprocess
import tempfile
import unittest

from kafka_cluster import CLUSTER, HOW_TO_GET_IT, IS_THERE, Kafka
from service import LIMIT, Service, wait_for

MANUAL = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "docs", "kafka.md")
PASSWORD = "a secret, with = and #"


def certificates(folder):
    """An authority, a key and certificate for 127.0.0.1 of it, and an authority that has nothing to do with them."""
    def openssl(*words):
        subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)
    for name in ("ca", "other"):
        openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={name}",
                "-keyout", f"{name}.key", "-out", f"{name}.pem")
    openssl("req", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=broker", "-keyout", "broker.key", "-out", "broker.csr")
    with open(os.path.join(folder, "names"), "w") as file:
        file.write("subjectAltName=IP:127.0.0.1\n")
    openssl("x509", "-req", "-in", "broker.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2",
            "-extfile", "names", "-out", "broker.pem")
    return [os.path.join(folder, name) for name in ("broker.pem", "broker.key", "ca.pem", "other.pem")]


@unittest.skipUnless(IS_THERE, HOW_TO_GET_IT)
class KafkaSecurityTests(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory(prefix="mailflow-certificates-")
        cls.addClassCleanup(cls.folder.cleanup)
        certificate, key, cls.ca, cls.other = certificates(cls.folder.name)
        cls.kafka = Kafka(
            "--sasl", f"mail:{PASSWORD}", "--tls", certificate, key, cls.ca,
            "--set", "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            # Whoever comes in clear or by TLS is this test.
            "--set", "super.users=User:ANONYMOUS")
        cls.kafka.__enter__()
        cls.addClassCleanup(cls.kafka.__exit__)

    def allow(self, name):
        """Gives what docs/kafka.md says that the service needs."""
        with open(MANUAL) as file:
            lines = re.findall(r"^kafka-acls\.sh (.*)$", file.read(), re.M)
        self.assertGreater(len(lines), 2)
        for line in lines:
            words = line.replace("BROKER", self.kafka.servers).replace(" mail.", f" {name}.").split()
            result = subprocess.run(
                ["java", "-cp", os.path.join(os.path.dirname(CLUSTER), "libs", "*"), "-XX:TieredStopAtLevel=1",
                 "org.apache.kafka.tools.AclCommand", *words], capture_output=True, text=True, timeout=LIMIT)
            self.assertEqual(result.returncode, 0, result.stdout + result.stderr)

    def service(self, name, servers, **properties):
        settings = [f"broker=kafka://{servers}", f"name={name}", "defaults.partitions=2"]
        settings += [f"kafka.{key.replace('_', '.').replace('.file', '-file')}={value}" for key, value in properties.items()]
        service = Service(settings=settings)
        self.addCleanup(service.folder.cleanup)
        self.addCleanup(service.kill)
        return service

    def sasl(self, name, **properties):
        return self.service(
            name, self.kafka.sasl, security_protocol="sasl_plaintext", sasl_mechanisms="PLAIN", sasl_username="mail",
            **properties)

    def whole_path(self, service):
        token = service.add_user("alice@example.com")
        service.start()
        with smtplib.SMTP(*service.smtp, timeout=LIMIT) as client:
            for number in range(20):
                client.sendmail("bob@example.net", ["alice@example.com"], f"Subject: {number}\r\n\r\nhello\r\n")
        wait_for("everything to arrive", lambda: len(service.messages(token)) == 20)
        lag = service.command("lag", "--json")
        self.assertEqual(lag.returncode, 0, lag.stderr)
        check = service.command("check", "--connect")
        self.assertEqual(check.returncode, 0, check.stderr)
        self.assertEqual(service.stop(), 0)
        errors = [line for line in service.errors if '"level":"error"' in line]
        self.assertEqual(errors, [])

    def secret(self, text):
        path = os.path.join(self.folder.name, "secret")
        with open(path, "w") as file:
            file.write(text)
        return path

    def test_mail_with_a_user_that_may_do_what_the_manual_lists(self):
        self.allow("allowed")
        os.environ["KAFKA_PASSWORD_OF_THIS_TEST"] = PASSWORD
        self.addCleanup(os.environ.pop, "KAFKA_PASSWORD_OF_THIS_TEST")
        service = self.sasl("allowed", sasl_password="'${KAFKA_PASSWORD_OF_THIS_TEST}'")
        self.whole_path(service)
        # It is in no file of ours.
        for folder, _, files in os.walk(service.data):
            for file in files:
                with open(os.path.join(folder, file), "rb") as opened:
                    self.assertNotIn(PASSWORD.encode(), opened.read(), file)
        # The same from a file, and a command.
        service = self.sasl("allowed", sasl_password_file=self.secret(PASSWORD + "\n"))
        result = service.command("check", "--connect")
        self.assertEqual(result.returncode, 0, result.stderr)

    def test_mail_over_tls(self):
        self.whole_path(self.service("tls", self.kafka.tls, security_protocol="ssl", ssl_ca_location=self.ca))

    def refused(self, service, code, *texts):
        result = service.command("up")
        self.assertEqual(result.returncode, code, result.stderr)
        self.assertEqual(result.stdout, "")
        for text in texts:
            self.assertIn(text, result.stderr)
        self.assertNotIn(PASSWORD, result.stderr)

    def test_what_is_refused(self):
        wrong = self.sasl("refused", sasl_password="wrong")
        self.refused(wrong, 77, "Authentication failed", "sasl.*")
        self.refused(
            self.sasl("refused", sasl_password_file="/no/such/file"), 78,
            "kafka.sasl.password-file names /no/such/file, which cannot be read: No such file")
        self.refused(self.service("refused", self.kafka.servers, no_such_property="1"), 78, "no.such.property")
        self.refused(self.service("refused", self.kafka.servers, security_protocol="sasl"), 78, "security.protocol")
        self.refused(
            self.service("refused", self.kafka.tls, security_protocol="ssl", ssl_ca_location=self.other), 77,
            "certificate verify failed", "ssl.*")
        # We are who we say, and may do nothing.
        self.refused(
            self.sasl("refused", sasl_password_file=self.secret(PASSWORD)), 77, "uthorization failed",
            "docs/kafka.md")


if __name__ == "__main__":
    unittest.main()
