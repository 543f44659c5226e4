"""Other people's servers, each with a configuration, folder and port of its own; nothing of the system's is touched."""
import os
import random
import shutil
import socket
import subprocess

from measure import wait_for


def free_port(count=1):
    """The first of `count` ports in a row that nobody listens on, below those that connections use themselves."""
    while True:
        first = random.randrange(20_000, 32_000)
        try:
            for port in range(first, first + count):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", port))
            return first
        except OSError:
            continue


def greeting(port):
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
            return connection.recv(200)
    except OSError:
        return b""


class Dovecot:
    """LMTP into Maildirs. Has to be started as root."""

    def __init__(self, folder):
        self.folder = folder
        self.lmtp = free_port()
        self.mail = os.path.join(folder, "mail")
        os.mkdir(self.mail)
        shutil.chown(self.mail, "nobody", "nogroup")
        path = os.path.join(folder, "dovecot.conf")
        with open(path, "w") as file:
            file.write(f"""
base_dir = {folder}/run
state_dir = {folder}/run
log_path = {folder}/dovecot.log
protocols = lmtp
ssl = no
first_valid_uid = 1
mail_location = maildir:~/Maildir
auth_username_format = %Lu
passdb {{
  driver = static
  args = nopassword=y
}}
userdb {{
  driver = static
  args = uid=nobody gid=nogroup home={self.mail}/%u allow_all_users=yes
}}
namespace inbox {{
  inbox = yes
}}
service lmtp {{
  chroot =
  inet_listener lmtp {{
    address = 127.0.0.1
    port = {self.lmtp}
  }}
}}
service anvil {{
  chroot =
}}
service stats {{
  chroot =
}}
""")
        os.mkdir(os.path.join(folder, "run"))
        self.process = subprocess.Popen(["dovecot", "-F", "-c", path], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for("Dovecot's greeting", lambda: greeting(self.lmtp).startswith(b"220"))

    def delivered(self, address):
        try:
            return len(os.listdir(os.path.join(self.mail, address, "Maildir", "new")))
        except FileNotFoundError:
            return 0

    def stop(self):
        self.process.terminate()
        self.process.wait(30)


class Postfix:
    """A mail server for example.com that delivers by LMTP. Has to be started as root."""

    def __init__(self, folder, lmtp):
        self.etc = os.path.join(folder, "etc")
        self.port = free_port()
        os.makedirs(self.etc)
        os.mkdir(os.path.join(folder, "queue"))
        data = os.path.join(folder, "data")
        os.mkdir(data)
        shutil.chown(data, "postfix")
        with open(os.path.join(self.etc, "main.cf"), "w") as file:
            file.write(f"""
compatibility_level = 3.6
queue_directory = {folder}/queue
data_directory = {data}
maillog_file = {folder}/mail.log
maillog_file_prefixes = {folder}
myhostname = mx.example.com
mydestination =
alias_maps =
alias_database =
virtual_mailbox_domains = example.com
virtual_transport = lmtp:inet:127.0.0.1:{lmtp}
inet_interfaces = loopback-only
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
smtpd_client_connection_rate_limit = 0
""")
        with open(os.path.join(folder, "mail.log"), "w"):
            pass
        shutil.copy("/usr/share/postfix/master.cf.dist", os.path.join(self.etc, "master.cf"))
        self.edit("-F", "-e", "*/*/chroot=n")
        self.edit("-M", "-X", "smtp/inet")
        address = f"127.0.0.1:{self.port}"
        self.edit("-M", "-e", f"{address}/inet={address} inet n - n - - smtpd")
        subprocess.run(["postfix", "-c", self.etc, "start"], check=True, capture_output=True)
        with open(os.path.join(folder, "queue/pid/master.pid")) as file:
            self.pid = int(file.read())
        wait_for("Postfix's greeting", lambda: greeting(self.port).startswith(b"220"))

    def edit(self, *words):
        subprocess.run(["postconf", "-c", self.etc, *words], check=True, capture_output=True)

    def stop(self):
        subprocess.run(["postfix", "-c", self.etc, "stop"], check=True, capture_output=True)


class Nginx:
    """Serves the files of `root`."""

    def __init__(self, folder, root, certificate=None):
        """By TLS if there is a certificate, a PEM file with its key."""
        self.port = free_port()
        path = os.path.join(folder, "nginx.conf")
        tls = f"ssl_certificate {certificate}; ssl_certificate_key {certificate};" if certificate else ""
        with open(path, "w") as file:
            file.write(f"""
daemon off;
worker_processes auto;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 10240; }}
http {{
  access_log off;
  default_type application/octet-stream;
  sendfile on;
  tcp_nodelay on;
  keepalive_requests 1000000000;
  keepalive_timeout 600s;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  server {{
    listen 127.0.0.1:{self.port}{' ssl' if certificate else ''};
    {tls}
    root {root};
  }}
}}
""")
        self.process = subprocess.Popen(
            ["nginx", "-e", f"{folder}/error.log", "-c", path], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for("nginx", lambda: self.accepts())

    def accepts(self):
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=5).close()
            return True
        except OSError:
            return False

    def stop(self):
        self.process.terminate()
        self.process.wait(30)
