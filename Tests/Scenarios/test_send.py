"""`mailflow send`: to the service, by TLS, to servers that refuse; what it prints and how it exits."""
import json
import os
import socket
import subprocess
import threading
import unittest

from service import BINARY, LIMIT, Service, wait_for


def send(*words, text=b"Subject: x\n\nHello.\n"):
    """Exit code, standard output, standard error."""
    result = subprocess.run([BINARY, "send", *words], input=text, capture_output=True, timeout=LIMIT)
    return result.returncode, result.stdout.decode(), result.stderr.decode()


class FakeServer:
    """Answers each line with what the script says for its first word, 250 if it says nothing; keeps what it was told."""

    def __init__(self, script, extensions=()):
        self.script, self.extensions, self.lines = script, extensions, []
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.address = "127.0.0.1:%d" % self.socket.getsockname()[1]
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self):
        client, _ = self.socket.accept()
        with client, client.makefile("rb") as lines:
            client.sendall(self.script.get("greeting", b"220 fake\r\n"))
            inside = False
            for line in lines:
                self.lines.append(line)
                if inside and line != b".\r\n":
                    continue
                word = "end" if inside else line.split()[0].decode()
                answer = self.script.get(word, b"250 ok\r\n")
                if word == "EHLO" and answer.startswith(b"250 "):
                    answer = b"250-fake\r\n" + b"".join(b"250-%b\r\n" % name for name in self.extensions) + b"250 HELP\r\n"
                if word == "DATA" and answer == b"250 ok\r\n":
                    answer = b"354 go\r\n"
                inside = answer.startswith(b"354")
                client.sendall(answer)
                if word == "QUIT":
                    return

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()
        self.thread.join(LIMIT)


class SendTests(unittest.TestCase):
    def test_to_the_service(self):
        with Service() as service:
            token = service.add_user("alice@example.com")
            other = service.add_user("zoë@example.com")
            service.start()
            data = ["--data", service.data]
            one = ["--from", "bob@other.org", "--to", "alice@example.com"]
            code, out, err = send(*data, *one, text=b"Subject: lines\n\n.\n..two\r\nthree\rfour\n\n.end")
            self.assertEqual((code, err), (0, ""))
            self.assertRegex(out, r"^queued as [0-9a-f-]{36} at 127\.0\.0\.1:\d+\n$")
            name = out.split()[2]
            wait_for("the mail", lambda: [m["id"] for m in service.messages(token)] == [name])
            raw = service.raw(name, token)
            self.assertTrue(raw.endswith(b"Subject: lines\r\n\r\n.\r\n..two\r\nthree\r\nfour\r\n\r\n.end\r\n"), raw)

            code, out, err = send(
                *data, *one, "--to", "zoë@example.com", "--subject", "Grüße", "--json", text="It works: ☺".encode())
            self.assertEqual(code, 0, err)
            said = json.loads(out)
            self.assertEqual((said["accepted"], said["refused"], said["tls"]), (True, [], None))
            mail = wait_for("Zoë's mail", lambda: service.messages(other))[0]
            self.assertEqual(mail["subject"], "Grüße")
            raw = service.raw(mail["id"], other).decode()
            self.assertIn("with UTF8SMTP id", raw)
            for field in ("From: bob@other.org", "Message-ID: <", "Date: ", "To: alice@example.com,\r\n zoë@example.com"):
                self.assertIn("\r\n" + field, raw)

            # One recipient that is not there keeps the other's mail from nobody.
            code, out, err = send(*data, *one, "--to", "nobody@example.com")
            self.assertEqual(code, 65)
            self.assertIn("queued as", out)
            self.assertIn("refuses nobody@example.com: 550 5.1.1", err)
            code, out, err = send(*data, "--from", "bob@other.org", "--to", "someone@elsewhere.org")
            self.assertEqual((code, out), (77, ""))
            self.assertIn("550 5.7.1 Relaying denied", err)
            code, _, err = send(*data, *one, text=b"just a text\n")
            self.assertEqual(code, 65)
            self.assertIn("--subject", err)

            port = service.smtp[1]
            secret = ["--server", f"localhost:{port}", *one, "--json"]
            code, _, err = send(*secret, "--tls")
            self.assertEqual(code, 69)
            self.assertIn("--insecure", err)
            for words in (["--insecure"], ["--tls", "--trust", os.path.join(service.data, "self-signed.pem")]):
                code, out, err = send(*secret, *words)
                self.assertEqual(code, 0, err)
                self.assertRegex(json.loads(out)["tls"], r"^TLSv1\.3 TLS_")
            self.assertEqual(service.stop(), 0)
            code, _, err = send(*data, *one)
            self.assertEqual(code, 69)
            self.assertIn("is the service up", err)

    def test_servers_that_refuse(self):
        words = ["--from", "a@b.org", "--to", "x@c.org"]
        for script, code, said in [
            ({"greeting": b"554 no\r\n"}, 65, "refuses the connection: 554 no"),
            ({"MAIL": b"451 4.3.0 later\r\n"}, 75, "refuses MAIL: 451"), ({"RCPT": b"450 greylisted\r\n"}, 75, "450"),
            ({"DATA": b"452 full\r\n"}, 75, "refuses DATA: 452"), ({"end": b"451 4.3.0 later\r\n"}, 75, "451"),
            ({"end": b"550-5.7.1 not\r\n550 5.7.1 allowed\r\n"}, 77, "550 5.7.1 not 5.7.1 allowed"),
            ({"end": b"554 5.6.0 bad\r\n"}, 65, "refuses the message: 554"), ({"MAIL": b"530 5.7.0 TLS\r\n"}, 77, "530"),
            ({"greeting": b"SSH-2.0-x\r\n"}, 69, "does not speak SMTP"), ({"greeting": b""}, 69, "timed out"),
        ]:
            with self.subTest(script=script), FakeServer(script) as server:
                result, out, err = send(*words, "--server", server.address, "--timeout", "2")
                self.assertEqual((result, out), (code, ""), err)
                self.assertIn(said, err)
        with FakeServer({"EHLO": b"502 no\r\n"}) as old:
            code, out, err = send(*words, "--server", old.address)
            self.assertEqual((code, out), (0, f"accepted by {old.address}: ok\n"), err)
            self.assertEqual([line.split()[0] for line in old.lines[:3]], [b"EHLO", b"HELO", b"MAIL"])
        with FakeServer({}, [b"SIZE 10"]) as small:
            code, _, err = send(*words, "--server", small.address)
            self.assertEqual(code, 65)
            self.assertIn("larger than", err)
        with FakeServer({}, [b"SIZE", b"8BITMIME"]) as server:
            code, _, err = send(*words, "--server", server.address, text="Subject: x\n\né\n".encode())
            self.assertEqual(code, 0, err)
            self.assertIn(b"MAIL FROM:<a@b.org> SIZE=18 BODY=8BITMIME\r\n", server.lines)
        with FakeServer({}) as plain:
            code, _, err = send("--from", "a@b.org", "--to", "zoë@c.org", "--server", plain.address)
            self.assertEqual(code, 69)
            self.assertIn("SMTPUTF8", err)
        with FakeServer({}) as plain:
            code, _, err = send(*words, "--server", plain.address, "--tls")
            self.assertEqual(code, 69)
            self.assertIn("does not offer STARTTLS", err)

    def test_wrong_usage(self):
        for words, said in [
            ([], "--from"), (["--from", "a@b.c"], "--to"), (["--from", "x y", "--to", "a@b.c"], "not `x y`"),
            (["--from", "<>", "--to", "a@b.c", "--server", "nowhere"], "HOST:PORT"),
        ]:
            code, _, err = send(*words)
            self.assertEqual(code, 64, err)
            self.assertIn(said, err)
        code, out, _ = send("--help")
        self.assertEqual(code, 0)
        self.assertIn("mailflow send message.eml", out)


if __name__ == "__main__":
    unittest.main()
