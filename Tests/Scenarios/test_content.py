"""Large content in S3."""
import os
import smtplib
import unittest

import object_store
from object_store import ObjectStore
from service import LIMIT, Service, wait_for

LARGE = b"Subject: large\r\n\r\n" + b"0123456789abcdef\r\n" * 20_000
SMALL = b"Subject: small\r\n\r\nhello\r\n"


def send(service, content):
    """The reply to DATA."""
    with smtplib.SMTP(*service.smtp, timeout=LIMIT) as client:
        client.ehlo("c.org")
        client.mail("bob@example.net")
        client.rcpt("alice@example.com")
        return client.data(content)


@unittest.skipUnless(object_store.WEED, object_store.HOW_TO_GET_IT)
class ContentTests(unittest.TestCase):
    def test_large_mail_is_kept_in_s3_and_waits_while_it_is_away(self):
        with ObjectStore() as s3, Service(settings=s3.settings) as service:
            token = service.add_user("alice@example.com")
            service.start()
            first = self.accepted(send(service, LARGE))
            stored = lambda: [message["id"] for message in service.messages(token)]
            wait_for("the large message", lambda: stored() == [first])
            self.assertTrue(service.raw(first, token).endswith(LARGE))
            self.assertFalse(os.path.exists(os.path.join(service.data, "content")))

            # Accepted, and on its way while S3 goes away: nothing is lost, and nothing becomes a dead letter.
            s3.stop()
            code, text = send(service, LARGE)
            self.assertEqual(code, 451, text)
            small = self.accepted(send(service, SMALL))
            wait_for("the small message", lambda: small in stored())
            self.assertEqual(service.get(f"/v1/messages/{first}/raw", token)[0], 503)

            s3.start()
            self.assertTrue(service.raw(first, token).endswith(LARGE))
            again = self.accepted(send(service, LARGE))
            wait_for("the message that S3 took again", lambda: again in stored())
            self.assertEqual(service.stop(), 0)

    def test_what_was_accepted_waits_and_goes_on_by_itself(self):
        with ObjectStore() as s3, Service(settings=s3.settings) as service:
            token = service.add_user("alice@example.com")
            # Only the gateways run, so that mail is still in its topic when S3 goes away.
            service.start("run", "--gateways", "all")
            contents = [LARGE + b"%d\r\n" % number for number in range(3)]
            accepted = [self.accepted(send(service, content)) for content in contents]
            self.assertEqual(service.stop(), 0)
            s3.stop()
            service.start()
            wait_for("a stage that waits", lambda: service.get("/readyz")[0] == 503)
            small = self.accepted(send(service, SMALL))
            self.assertNotIn(accepted[0], [message["id"] for message in service.messages(token)])
            s3.start()
            wait_for("all of it", lambda: len(service.messages(token)) == 4)
            self.assertEqual(sorted(m["id"] for m in service.messages(token)), sorted([*accepted, small]))
            for name, content in zip(accepted, contents):
                self.assertTrue(service.raw(name, token).endswith(content))
            self.assertEqual(service.stop(), 0)

    def test_what_is_wrong_is_said(self):
        with ObjectStore() as s3, Service(settings=s3.settings) as service:
            nowhere = {**os.environ, "http_proxy": "http://127.0.0.1:9", "all_proxy": "http://127.0.0.1:9"}
            good = service.command("check", "--connect", env=nowhere)
            self.assertEqual(good.returncode, 0, good.stderr)
            for setting, word in [
                    ("content.secret-key=wrong", "SignatureDoesNotMatch"),
                    ("content.access-key=wrong", "InvalidAccessKeyId"),
                    (f"content.s3={s3.url}-not", "NoSuchBucket"), ("content.s3=http://127.0.0.1:9/mail", "127.0.0.1:9")]:
                service.settings = [*s3.settings, setting]
                result = service.command("check", "--connect")
                self.assertEqual(result.returncode, 69, result.stderr)
                self.assertIn(word, result.stderr)
                self.assertNotIn(object_store.SECRET, result.stderr)

    def accepted(self, reply):
        code, text = reply
        self.assertEqual(code, 250, text)
        return text.decode().split()[-1]


if __name__ == "__main__":
    unittest.main()
