"""PostgreSQL's protocol by hand, for what no driver would send."""
import base64
import hashlib
import hmac
import os
import socket
import ssl
import struct

SSL_REQUEST = struct.pack("!ii", 8, 80877103)
GSS_REQUEST = struct.pack("!ii", 8, 80877104)


def msg(kind, body=b""):
    return kind.encode() + struct.pack("!i", len(body) + 4) + body


def text(s):
    return s.encode() + b"\0"


def startup(version=(3, 0), **params):
    body = struct.pack("!hh", *version) + b"".join(text(k) + text(v) for k, v in params.items()) + b"\0"
    return struct.pack("!i", len(body) + 4) + body


def query(sql):
    return msg("Q", text(sql))


def parse(name, sql):
    return msg("P", text(name) + text(sql) + struct.pack("!h", 0))


def bind(name, *values, portal=""):
    body = text(portal) + text(name) + struct.pack("!hh", 0, len(values))
    for v in values:
        body += struct.pack("!i", -1) if v is None else struct.pack("!i", len(v)) + v.encode()
    return msg("B", body + struct.pack("!h", 0))


def execute(portal="", rows=0):
    return msg("E", text(portal) + struct.pack("!i", rows))


SYNC = msg("S")


def cancel(pid, key):
    body = struct.pack("!ii", 80877102, pid) + key
    return struct.pack("!i", len(body) + 4) + body


def fields(body):
    """Of an ErrorResponse or NoticeResponse."""
    return {f[:1].decode(): f[1:].decode(errors="replace") for f in body.split(b"\0") if f}


class Gone(Exception):
    """The other side closed the connection."""


class Raw:
    def __init__(self, port, host="127.0.0.1", timeout=60, rcvbuf=None):
        unix = host.startswith("/")
        self.sock = socket.socket(socket.AF_UNIX if unix else socket.AF_INET)
        self.sock.settimeout(timeout)
        if rcvbuf:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
        self.sock.connect(f"{host}/.s.PGSQL.{port}" if unix else (host, port))
        self.data = b""
        self.pid = self.key = None
        self.params = {}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.sock.close()

    def reset(self):
        """Goes away without a goodbye."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def send(self, *parts):
        self.sock.sendall(b"".join(parts))

    def more(self):
        try:
            got = self.sock.recv(65536)
        except ConnectionResetError:
            got = b""
        if not got:
            raise Gone(self.data)
        self.data += got

    def take(self, n):
        while len(self.data) < n:
            self.more()
        got, self.data = self.data[:n], self.data[n:]
        return got

    def read(self):
        """The next message: (type, body)."""
        kind, size = struct.unpack("!ci", self.take(5))
        return kind.decode("latin1"), self.take(size - 4)

    def until(self, *kinds):
        """Messages up to the first of one of these types."""
        got = []
        try:
            while not got or got[-1][0] not in kinds:
                got.append(self.read())
        except Gone as e:
            raise Gone(*[fields(body).get("M") for kind, body in got if kind == "E"] or e.args) from None
        return got

    def ends(self):
        """What comes before the other side closes."""
        got = []
        try:
            while True:
                got.append(self.read())
        except Gone:
            return got

    def tls(self):
        self.send(SSL_REQUEST)
        answer = self.take(1)
        assert answer == b"S", answer
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        self.sock = context.wrap_socket(self.sock)

    def scram(self, password):
        nonce = base64.b64encode(os.urandom(18)).decode()
        bare = f"n=,r={nonce}"
        first = f"n,,{bare}".encode()
        self.send(msg("p", text("SCRAM-SHA-256") + struct.pack("!i", len(first)) + first))
        kind, body = self.read()
        assert kind == "R" and body[:4] == struct.pack("!i", 11), (kind, body)
        server = body[4:].decode()
        parts = dict(p.split("=", 1) for p in server.split(","))
        salted = hashlib.pbkdf2_hmac("sha256", password.encode(), base64.b64decode(parts["s"]),
                                     int(parts["i"]))
        client_key = hmac.digest(salted, b"Client Key", "sha256")
        bare_final = f"c=biws,r={parts['r']}"
        signature = hmac.digest(hashlib.sha256(client_key).digest(),
                                f"{bare},{server},{bare_final}".encode(), "sha256")
        proof = base64.b64encode(bytes(a ^ b for a, b in zip(client_key, signature))).decode()
        self.send(msg("p", f"{bare_final},p={proof}".encode()))

    def login(self, user="u_trust", database="db", password=None, version=(3, 0), **params):
        self.send(startup(version, user=user, database=database, **params))
        while True:
            kind, body = self.read()
            if kind == "E":
                raise RuntimeError(fields(body).get("M"))
            if kind == "K":
                self.pid, self.key = struct.unpack("!i", body[:4])[0], body[4:]
            elif kind == "S":
                name, value = body.split(b"\0")[:2]
                self.params[name.decode()] = value.decode()
            elif kind == "Z":
                return self
            elif kind == "R":
                method = struct.unpack("!i", body[:4])[0]
                if method == 3:
                    self.send(msg("p", text(password)))
                elif method == 5:
                    inner = hashlib.md5((password + user).encode()).hexdigest().encode()
                    self.send(msg("p", text("md5" + hashlib.md5(inner + body[4:8]).hexdigest())))
                elif method == 10:
                    self.scram(password)

    def query(self, sql):
        """Rows of the answer, as lists of texts; an error raises."""
        self.send(query(sql))
        return rows(self.until("Z"))


class Client(Raw):
    """One that is logged in (trust), and asks one simple query after the other."""

    def __init__(self, port, user="u_trust", db="db", minor=0, host="127.0.0.1", timeout=20):
        super().__init__(port, host, timeout)
        self.negotiated = None
        self.send(startup((3, minor), user=user, database=db))
        for kind, body in self.until("Z", "E"):
            if kind == "K":
                self.key = body
            elif kind == "v":
                self.negotiated = struct.unpack("!I", body[:4])[0]
            elif kind == "E":
                raise RuntimeError(body)

    def ask(self, sql):
        self.send(query(sql))

    def result(self):
        """(first columns of the rows, SQLSTATE of the error or None), up to ReadyForQuery."""
        got, state = [], None
        for kind, body in self.until("Z"):
            if kind == "D":
                got.append(row(body)[0])
            elif kind == "E":
                state = fields(body)["C"]
        return got, state

    def query(self, sql):
        self.ask(sql)
        return self.result()


def cancel_packet(key):
    """key: the process id and what follows it, as the server told them."""
    return struct.pack("!II", 8 + len(key), 80877102) + key


def open_cancel(port, key, host="127.0.0.1", timeout=20):
    s = socket.create_connection((host, port), timeout=timeout)
    s.sendall(cancel_packet(key))
    return s


def send_cancel(port, key, host="127.0.0.1", timeout=20):
    """Returns when the other side has closed the connection."""
    with open_cancel(port, key, host, timeout) as s:
        return s.recv(1)


def rows(messages):
    got = []
    for kind, body in messages:
        if kind == "E":
            raise RuntimeError("{C}: {M}".format(**fields(body)))
        if kind == "D":
            got.append(row(body))
    return got


def row(body):
    values, at = [], 2
    for _ in range(struct.unpack("!h", body[:2])[0]):
        n = struct.unpack("!i", body[at:at + 4])[0]
        at += 4
        values.append(None if n < 0 else body[at:at + n].decode(errors="replace"))
        at += max(n, 0)
    return values


def messages(data):
    """Of what a client sends: (type, body)."""
    at = 0
    while at < len(data):
        size = struct.unpack("!i", data[at + 1:at + 5])[0]
        yield chr(data[at]), data[at + 5:at + 1 + size]
        at += 1 + size


def failed_names(rounds, answers):
    """
    How many of the rounds come before a Bind or Describe of a name whose last Parse has failed. PostgreSQL says 26000
    then; the proxy tries the Parse again, as PgBouncer does. answers: to each round, types of messages first.
    """
    failed = set()
    for i, data in enumerate(rounds):
        parsed = sum(a[0] == "1" for a in answers[i])
        for kind, body in messages(data):
            name = body.split(b"\0")[1 if kind == "B" else 0]
            if kind in "DC" and body[:1] == b"S":
                name = name[1:]
            elif kind in "DC":
                continue
            if kind == "P":
                failed.discard(name) if parsed > 0 else failed.add(name)
                parsed -= 1
            elif kind in "BD" and name and name in failed:
                return i
    return len(rounds)
