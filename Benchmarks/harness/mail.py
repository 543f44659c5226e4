"""Reading mail beside GMime, and indexing it beside plain FTS5 in C."""
import base64
import os
import random
import subprocess
import tarfile

from measure import ROOT, line, result

CORPUS = os.path.join(ROOT, "..", "shared", "corpus")


def mime(setting):
    """Messages in memory: of 10 KiB, of 5 MiB with attachments that are decoded, and real mail if there is any."""
    flags = subprocess.run(["pkg-config", "--cflags", "--libs", "gmime-3.0"], check=True, capture_output=True, text=True)
    bench, peer = setting.swift("bench"), setting.c("mime", *flags.stdout.split())
    kinds = [("10k", small(setting), 400), ("5m", large(setting), 4)]
    if os.path.isdir(CORPUS):
        kinds.append(("corpus", corpus(setting), 2))
    for name, folder, rounds in kinds:
        for what in ["read", "decode"]:
            ours, theirs = [], []
            for _ in range(setting.rounds):
                ours.append(result(bench, "mime", folder, rounds, what))
                theirs.append(result(peer, folder, rounds, what))
            rates = [[run["bytes"] / run["cpu"] / 1e6 for run in runs] for runs in (ours, theirs)]
            line(f"mime-{name}-{what}", *rates, "MB/CPU-s", higher=True, ratio_goal=0.8)


def search(setting):
    """Documents into the index, 128 a transaction: those of real mail if there is any, else made-up ones."""
    bench, peer = setting.swift("bench"), setting.c("fts")
    folder, rounds = (corpus(setting), 1) if os.path.isdir(CORPUS) else (small(setting), 20)
    file = os.path.join(setting.folder, "documents")
    subprocess.run([bench, "documents", folder, file], check=True)
    ours, theirs = [], []
    for _ in range(setting.rounds):
        ours.append(result(bench, "search", setting.fresh("ours"), file, rounds))
        theirs.append(result(peer, setting.fresh("peer"), file, rounds))
    rates = [[run["count"] / run["cpu"] for run in runs] for runs in (ours, theirs)]
    line("search-add", *rates, "documents/CPU-s", higher=True, ratio_goal=0.8)


# MARK: Mail


def words(chance, size):
    """Lines of made-up words."""
    text = ""
    while len(text) < size:
        text += " ".join("".join(chance.choices("aeiourstlnmdk", k=chance.randint(2, 9))) for _ in range(11)) + "\r\n"
    return text[:size]


HEADER = """Received: from a.example.org (a.example.org [192.0.2.1]) by mx.example.com with ESMTPS id 4f;
\tTue, 24 Nov 2026 09:30:01 +0100\r
Received: by a.example.org with ESMTP id 99; Tue, 24 Nov 2026 09:30:00 +0100\r
Date: Tue, 24 Nov 2026 09:30:00 +0100\r
From: =?utf-8?q?J=C3=BCrgen_M=C3=BCller?= <juergen@example.org>\r
To: Alice Doe <alice@example.com>, bob@example.com\r
Subject: =?utf-8?b?5pel5pys6Kqe?= and more\r
Message-ID: <{number}@example.org>\r
MIME-Version: 1.0\r
""".replace(";\n", ";\r\n")


def small(setting):
    """A hundred messages of 10 KiB: plain and HTML text, one encoded each way."""
    folder, chance = setting.fresh("small"), random.Random(1)
    for number in range(100):
        html = "<p>" + words(chance, 4500).replace("\r\n", "=\r\n<br>=C3=BC") + "</p>"
        text = base64.encodebytes(words(chance, 2900).encode()).replace(b"\n", b"\r\n").decode()
        body = (f'Content-Type: multipart/alternative; boundary="=_{number}"\r\n\r\n--=_{number}\r\n'
                f"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\n{text}\r\n"
                f"--=_{number}\r\nContent-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
                f"{html}\r\n--=_{number}--\r\n")
        with open(f"{folder}/{number:04}.eml", "w", newline="") as file:
            file.write(HEADER.format(number=number) + body)
    return folder


def large(setting):
    """Four messages of 5 MiB: a text, and attachments in base64."""
    folder, chance = setting.fresh("large"), random.Random(2)
    for number in range(4):
        with open(f"{folder}/{number}.eml", "wb") as file:
            file.write(HEADER.format(number=number).encode())
            file.write(b'Content-Type: multipart/mixed; boundary="=_x"\r\n\r\n--=_x\r\n\r\nSee the files.\r\n')
            for part in range(4):
                content = base64.encodebytes(chance.randbytes(940_000)).replace(b"\n", b"\r\n")
                file.write(b'--=_x\r\nContent-Type: application/pdf; name="file %d.pdf"\r\n' % part)
                file.write(b"Content-Disposition: attachment\r\nContent-Transfer-Encoding: base64\r\n\r\n" + content)
            file.write(b"--=_x--\r\n")
    return folder


def corpus(setting):
    folder = setting.fresh("corpus")
    for archive in sorted(os.listdir(CORPUS)):
        if archive.endswith(".tar.xz"):
            with tarfile.open(os.path.join(CORPUS, archive)) as tar:
                for number, member in enumerate(m for m in tar if m.isfile()):
                    with open(f"{folder}/{archive[:-7]}-{number:05}.eml", "wb") as file:
                        file.write(tar.extractfile(member).read().replace(b"\n", b"\r\n"))
    return folder
