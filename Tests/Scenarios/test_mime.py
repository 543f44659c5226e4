"""What `mime-probe` reads in real mail, beside what Python's email package reads in it."""
import email
import email.policy
import hashlib
import json
import os
import re
import subprocess
import tempfile
import unittest

from service import BINARY, LIMIT
from test_mail import CORPUS, corpus

PROBE = os.path.join(os.path.dirname(BINARY), "mime-probe")


def leaves(message):
    """Type, name and decoded content of every part without parts, in order."""
    for part in message.walk():
        if not part.is_multipart():
            if part.get("content-transfer-encoding", "").strip().lower() == "quoted-printable":
                # Python keeps the space before line ends that RFC 2045 section 6.7 rule 3 says was added on the way.
                part.set_payload(re.sub(r"[ \t]+(?=\r?\n|$)", "", part.get_payload()))
            yield part.get_content_type(), part.get_payload(decode=True) or b""


@unittest.skipUnless(os.path.exists(PROBE), "needs mime-probe: swift build --build-tests")
class MIMETests(unittest.TestCase):
    def test_the_corpus_is_read_as_by_python(self):
        if not os.path.isdir(CORPUS):
            self.skipTest("no ../shared/corpus beside the repository: the SpamAssassin public corpus as tar.xz files")
        limit = int(os.environ.get("CORPUS_LIMIT", "300"))
        with tempfile.TemporaryDirectory() as folder:
            paths, contents = [], []
            for content in corpus(limit):
                contents.append(content)
                paths.append(os.path.join(folder, f"{len(paths)}.eml"))
                with open(paths[-1], "wb") as file:
                    file.write(content)
            result = subprocess.run(
                [PROBE], input="".join(path + "\n" for path in paths), capture_output=True, text=True, timeout=5 * LIMIT)
            self.assertEqual(result.returncode, 0, result.stderr)
            ours = [json.loads(line) for line in result.stdout.splitlines()]
            self.assertEqual(len(ours), len(contents))
        self.assertEqual([our["broken"] for our in ours if our["broken"]], [])
        structures = parts = same = 0
        different = []
        for content, our in zip(contents, ours):
            theirs = list(leaves(email.message_from_bytes(content, policy=email.policy.compat32)))
            mine = [part for part in our["parts"] if not part["container"]]
            if [part["type"] for part in mine] == [kind for kind, _ in theirs]:
                structures += 1
                for part, (_, decoded) in zip(mine, theirs):
                    parts += 1
                    # Python takes the line break at the end of quoted-printable and of the last part another way.
                    wanted = {hashlib.sha256(decoded + end).hexdigest() for end in (b"", b"\r\n", b"\n")}
                    wanted.add(hashlib.sha256(decoded.rstrip(b"\r\n")).hexdigest())
                    same += part["sha256"] in wanted
            else:
                different.append((content[:80], [part["type"] for part in mine], [kind for kind, _ in theirs]))
        print(f"\nmime: {len(ours)} messages, {structures} of the same structure, {same} of {parts} parts with the same bytes")
        # The rest is mail that its senders broke, which each program reads in its own way.
        self.assertGreaterEqual(structures, len(ours) * 0.99, different[:5])
        self.assertGreaterEqual(same, parts * 0.99)


if __name__ == "__main__":
    unittest.main()
