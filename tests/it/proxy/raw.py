"""A client that speaks just enough of the protocol to be exact about it."""
import socket
import struct


def cancel_packet(key):
    return struct.pack("!II", 8 + len(key), 80877102) + key


def send_cancel(port, key, host="127.0.0.1", timeout=20):
    """Returns when the other side has closed the connection."""
    with open_cancel(port, key, host, timeout) as s:
        return s.recv(1)


def open_cancel(port, key, host="127.0.0.1", timeout=20):
    s = socket.create_connection((host, port), timeout=timeout)
    s.sendall(cancel_packet(key))
    return s


class Raw:
    def __init__(self, port, user="u_trust", db="db", minor=0, host="127.0.0.1", timeout=20):
        if host.startswith("/"):
            self.sock = socket.socket(socket.AF_UNIX)
            self.sock.settimeout(timeout)
            self.sock.connect(f"{host}/.s.PGSQL.{port}")
        else:
            self.sock = socket.create_connection((host, port), timeout=timeout)
        self.buffer = b""
        body = b"".join(x.encode() + b"\0" for x in ("user", user, "database", db)) + b"\0"
        self.sock.sendall(struct.pack("!III"[:3], 8 + len(body), 3 << 16 | minor) + body)
        self.key, self.negotiated = None, None
        while True:
            kind, body = self.message()
            if kind == b"K":
                self.key = body
            elif kind == b"v":
                self.negotiated = struct.unpack("!I", body[:4])[0]
            elif kind == b"E":
                raise RuntimeError(body)
            elif kind == b"Z":
                return

    def message(self):
        while True:
            if len(self.buffer) >= 5:
                size = struct.unpack("!I", self.buffer[1:5])[0]
                if len(self.buffer) > size:
                    kind, body = self.buffer[:1], self.buffer[5:size + 1]
                    self.buffer = self.buffer[size + 1:]
                    return kind, body
            got = self.sock.recv(65536)
            if not got:
                raise EOFError
            self.buffer += got

    def send(self, sql):
        body = sql.encode() + b"\0"
        self.sock.sendall(b"Q" + struct.pack("!I", 4 + len(body)) + body)

    def result(self):
        """(rows, SQLSTATE of the error or None), up to ReadyForQuery."""
        rows, state = [], None
        while True:
            kind, body = self.message()
            if kind == b"D":
                size = struct.unpack("!i", body[2:6])[0]
                rows.append(body[6:6 + size].decode() if size >= 0 else None)
            elif kind == b"E":
                fields = {f[:1]: f[1:].decode() for f in body.split(b"\0") if f}
                state = fields[b"C"]
            elif kind == b"Z":
                return rows, state

    def query(self, sql):
        self.send(sql)
        return self.result()

    def close(self):
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
