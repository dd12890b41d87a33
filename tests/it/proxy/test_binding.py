"""SCRAM tied to the TLS connection (SCRAM-SHA-256-PLUS): towards clients, towards servers; and keys
that are derived beside the threads that move bytes."""
import base64
import hashlib
import hmac
import os
import socket
import ssl
import struct
import threading

import psycopg
import pytest

import rawpg
from conftest import BASE, Box, Postgres, Proxy, free_port, prepare, users, wait_for

TLS = """client_tls_sslmode = allow
client_tls_key_file = @DIR@/server.key
client_tls_cert_file = @DIR@/server.crt
"""


@pytest.fixture(scope="module")
def world():
    box = Box()
    try:
        users(box)
        pg = Postgres(box, "pg", ssl=True)
        prepare(pg)
        with open(os.path.join(pg.data, "pg_hba.conf"), "w") as f:
            f.write("host all u_scram all scram-sha-256\nhost all u_md5 all md5\n"
                    "host all all all trust\n")
        pg.sql("select pg_reload_conf()")
        box.pg = pg
        yield box
    finally:
        box.close()


@pytest.fixture
def make(world):
    made = []

    def fn(auth="scram-sha-256", server="require", binding=None, databases="", more=""):
        ini = BASE.format(pg=world.pg.port, mode="session", auth=auth, databases=databases,
                          more=TLS + f"server_tls_sslmode = {server}\n" + more)
        ini = ini.replace("worker_threads = 2", "worker_threads = 1")
        if binding:
            ini += f"server_channel_binding = {binding}\n"
        px = Proxy(world, ini, name=f"px{free_port()}")
        world.ends.remove(px.kill)
        made.append(px)
        return px
    yield fn
    for px in made:
        px.kill()


WHO = dict(user="u_scram", password="secret")


def test_clients(make):
    """libpq that insists on it gets in, with a password and with a secret on record."""
    px = make()
    for mode in ("require", "prefer", "disable"):
        assert px.sql("select current_user", sslmode="require", channel_binding=mode,
                      **WHO) == [("u_scram",)]
    with pytest.raises(psycopg.OperationalError, match="SASL authentication failed"):
        px.sql("select 1", sslmode="require", channel_binding="require", user="u_scram",
               password="wrong")
    with pytest.raises(psycopg.OperationalError, match="channel binding"):
        px.sql("select 1", sslmode="disable", channel_binding="require", **WHO)
    assert px.sql("select 1", sslmode="disable", **WHO) == [(1,)]


def test_keys_of_a_bound_login_open_servers(make, world):
    """auth_file has the secret only: what the client proves over its TLS opens the server over ours."""
    secret = world.pg.sql("select rolpassword from pg_authid where rolname = 'u_scram'")[0][0]
    world.write("few.txt", f'"u_scram" "{secret}"\n"admin" ""\n', 0o600)
    px = make(binding="require", more="auth_file = @DIR@/few.txt")
    assert px.sql("select current_user", sslmode="require", channel_binding="require",
                  **WHO) == [("u_scram",)]


class Plus(rawpg.Raw):
    """SCRAM with what it is told to say of channel binding."""

    def scram_as(self, mechanism, header, binding, password="secret"):
        self.send(rawpg.startup(user="u_scram", database="db"))
        kind, body = self.read()
        assert (kind, body[:4]) == ("R", struct.pack("!i", 10))
        self.offered = body[4:].split(b"\0")[:-2]
        nonce = base64.b64encode(os.urandom(18)).decode()
        bare = f"n=,r={nonce}"
        first = (header + bare).encode()
        self.send(rawpg.msg("p", rawpg.text(mechanism) + struct.pack("!i", len(first)) + first))
        kind, body = self.read()
        if kind == "E":
            return rawpg.fields(body)["M"]
        server = body[4:].decode()
        parts = dict(p.split("=", 1) for p in server.split(","))
        salted = hashlib.pbkdf2_hmac("sha256", password.encode(), base64.b64decode(parts["s"]),
                                     int(parts["i"]))
        key = hmac.digest(salted, b"Client Key", "sha256")
        final = f"c={base64.b64encode(header.encode() + binding).decode()},r={parts['r']}"
        signature = hmac.digest(hashlib.sha256(key).digest(), f"{bare},{server},{final}".encode(),
                                "sha256")
        proof = base64.b64encode(bytes(a ^ b for a, b in zip(key, signature))).decode()
        self.send(rawpg.msg("p", f"{final},p={proof}".encode()))
        kind, body = self.read()
        return rawpg.fields(body)["M"] if kind == "E" else "in"


def test_who_stands_between(make, world):
    px = make()
    with open(world.path("server.crt")) as f:
        der = ssl.PEM_cert_to_DER_cert(f.read())
    good = hashlib.sha256(der).digest()
    plus, plain, p = "SCRAM-SHA-256-PLUS", "SCRAM-SHA-256", "p=tls-server-end-point,,"
    wrong = "SASL authentication failed"
    for tls, mechanism, header, binding, want in [
            (True, plus, p, good, "in"),
            (True, plus, p, hashlib.sha256(b"another").digest(), wrong),
            (True, plus, p, b"", wrong),
            (True, plus, "n,,", b"", wrong),
            (True, plus, "p=tls-unique,,", good, wrong),
            (True, plain, p, good, wrong),
            (True, plain, "y,,", b"", wrong),  # somebody took the offer away
            (True, plain, "n,,", b"", "in"),
            (False, plain, "y,,", b"", "in"),
            (False, plus, p, good, wrong)]:
        with Plus(px.port) as c:
            if tls:
                c.tls()
            assert c.scram_as(mechanism, header, binding) == want, (tls, mechanism, header)
            assert c.offered == ([plus.encode()] if tls else []) + [plain.encode()]


def test_servers(make, world):
    """The proxy as the client: it binds where it can, and insists where it is told to."""
    assert make(auth="trust").sql("select current_user", user="u_scram") == [("u_scram",)]
    strict = make(auth="any", binding="require", databases=(
        f"s = host=127.0.0.1 port={world.pg.port} dbname=db user=u_scram password=secret\n"
        f"m = host=127.0.0.1 port={world.pg.port} dbname=db user=u_md5 password=secret\n"
        f"t = host=127.0.0.1 port={world.pg.port} dbname=db user=u_trust"))
    assert strict.sql("select current_user", db="s") == [("u_scram",)]
    assert [r["value"] for r in strict.console("show config")
            if r["key"] == "server_channel_binding"] == ["require"]
    with pytest.raises(psycopg.OperationalError, match="asks for another authentication"):
        strict.sql("select 1", db="m")
    with pytest.raises(psycopg.OperationalError, match="let us in without"):
        strict.sql("select 1", db="t")
    bare = make(auth="any", server="disable", binding="require", databases=(
        f"s = host=127.0.0.1 port={world.pg.port} dbname=db user=u_scram password=secret"))
    with pytest.raises(psycopg.OperationalError, match="not possible with this server"):
        bare.sql("select 1", db="s")
    off = make(auth="any", binding="disable", databases=(
        f"s = host=127.0.0.1 port={world.pg.port} dbname=db user=u_scram password=secret"))
    assert off.sql("select current_user", db="s") == [("u_scram",)]


def test_many_rounds_hold_up_nobody(make, world):
    """A server that wants a second of arithmetic: others on the same thread go on meanwhile."""
    salt = base64.b64encode(b"salt" * 4).decode()
    rounds, asked = 1000000, []

    def serve(listener):
        while True:
            try:
                s = listener.accept()[0]
            except OSError:
                return
            threading.Thread(target=one, args=(s,), daemon=True).start()

    def one(s):
        with s:
            s.recv(1000)
            s.sendall(rawpg.msg("R", struct.pack("!i", 10) + b"SCRAM-SHA-256\0\0"))
            first = s.recv(1000)
            nonce = first[first.index(b"r=") + 2:].decode()
            asked.append(1)
            s.sendall(rawpg.msg("R", struct.pack("!i", 11) +
                                f"r={nonce}xyz,s={salt},i={rounds}".encode()))
            got = s.recv(1000)
            asked.append(1)
            assert b"p=" in got or not got
            s.sendall(rawpg.msg("E", b"SFATAL\0C28P01\0Mnot today\0\0"))
            s.recv(100)

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", free_port()))
        listener.listen()
        threading.Thread(target=serve, args=(listener,), daemon=True).start()
        px = make(auth="any", server="disable", more="server_login_retry = 0.1", databases=(
            f"far = host=127.0.0.1 port={listener.getsockname()[1]} user=x password=secret\n"
            f"near = host=127.0.0.1 port={world.pg.port} dbname=db user=u_trust"))
        with px.connect(db="near") as c:
            c.execute("select 1")
            t = threading.Thread(target=lambda: pytest.raises(psycopg.Error, px.sql, "select 1",
                                                              db="far"), daemon=True)
            t.start()
            wait_for(lambda: asked)
            n = 0
            while len(asked) < 2:
                c.execute("select 1")
                n += 1
            t.join(60)
        assert n > 3, n
        wait_for(lambda: len(asked) >= 4 or px.psql("select 1", db="far", check=False) is None, 60)
