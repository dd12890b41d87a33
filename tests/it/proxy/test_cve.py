"""What PgBouncer was found vulnerable to, one test for each published CVE. CVE-2021-3935 (data in
clear before TLS) is in test_tls.py."""
import base64
import hashlib
import os
import re
import socket
import struct
import threading

import psycopg
import pytest

from conftest import free_port
from test_tls import read_all, startup

AUTH_OK = b"R\0\0\0\x08\0\0\0\0"
READY = b"Z\0\0\0\x05I"


def message(kind, body=b""):
    return kind + struct.pack("!I", len(body) + 4) + body


def sasl(code, text=b""):
    return message(b"R", struct.pack("!I", code) + text)


def read_message(s):
    head = b""
    while len(head) < 5:
        got = s.recv(5 - len(head))
        if not got:
            return b"", b""
        head += got
    left = struct.unpack("!I", head[1:])[0] - 4
    body = b""
    while len(body) < left:
        got = s.recv(left - len(body))
        if not got:
            return b"", b""
        body += got
    return head[:1], body


def read_startup(s):
    head = s.recv(4)
    return s.recv(struct.unpack("!I", head)[0] - 4) if len(head) == 4 else b""


class Fake:
    """A server that says what it likes: talk(socket) runs after the startup packet."""

    def __init__(self, talk):
        self.port = free_port()
        self.talk = talk
        self.listener = socket.create_server(("127.0.0.1", self.port), backlog=16)
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        while True:
            try:
                s, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(s,), daemon=True).start()

    def serve(self, s):
        with s:
            s.settimeout(30)
            try:
                if read_startup(s):
                    self.talk(s)
            except (OSError, IndexError):
                pass  # it went, or nothing is left to be said


@pytest.fixture
def fake(make):
    fakes = []

    def fn(talk):
        f = Fake(talk)
        fakes.append(f)
        return make(databases=f"fake = host=127.0.0.1 port={f.port} user=x password=secret "
                    "dbname=db\n", more="server_login_retry = 0\nserver_tls_sslmode = disable\n"
                    "query_wait_timeout = 20\nserver_connect_timeout = 10\n",
                    name=f"fake{len(fakes)}")
    yield fn
    for f in fakes:
        f.listener.close()


def alive(px):
    """Unharmed, and not busy with what it was sent."""
    assert px.process.poll() is None, px.log()[-3000:]
    assert px.sql("select 1") == [(1,)]


def talk(px, *packets):
    """Sends one after the other, each after an answer to the last; gives all answers."""
    got = b""
    with socket.create_connection(("127.0.0.1", px.port), timeout=20) as s:
        try:
            for i, p in enumerate(packets):
                s.sendall(p)
                if i < len(packets) - 1:
                    got += s.recv(65536)
        except ConnectionError:
            return got
        return got + read_all(s)


def test_2012_4575_long_names(make):
    px = make(auth="trust")
    for n in (64, 200, 2000, 8000):
        assert b"no such database: " + b"d" * n in talk(px, startup(db="d" * n))
        assert AUTH_OK not in talk(px, startup(user="u" * n, db="d"))
    assert talk(px, startup(db="d" * 20000)).startswith(b"E")
    alive(px)


def test_2015_4054_password_first(make):
    px = make(auth="md5")
    for first in (b"p", b"Q", b"X", b"F", b"d"):
        for body in (b"", b"secret\0", b"x" * 100):
            assert AUTH_OK not in talk(px, message(first, body))
    assert px.sql("select 1", user="u_plain", password="secret") == [(1,)]


def test_2015_6817_auth_user_for_strangers(make, box):
    """A user whom auth_query does not find is nobody, and not auth_user."""
    box.write("users.txt", '"postgres" ""\n"admin" ""\n')
    box.write("hba.conf", "host all admin all trust\nhost all tr all trust\nhost all all all md5\n")
    px = make(auth="hba", more="auth_user = postgres\nauth_hba_file = @DIR@/hba.conf\n")
    for user in ("tr", "stranger"):
        for password in (None, "", "secret"):
            with pytest.raises(psycopg.OperationalError):
                px.sql("select current_user", user=user, password=password)
    assert px.sql("select current_user", user="u_md5", password="secret") == [("u_md5",)]
    assert not re.search("S-0x[0-9a-f]+: db/(stranger|tr)@", px.log())


def test_2025_2291_expired_password(make, box, server):
    server.sql("drop role if exists u_late", "create role u_late login password 'secret' "
               "valid until '2001-01-01'", "drop role if exists u_never",
               "create role u_never nologin password 'secret'")
    box.write("users.txt", '"postgres" ""\n"admin" ""\n')
    for auth in ("scram-sha-256", "md5", "plain"):
        px = make(auth=auth, more="auth_user = postgres\n", name="px-" + auth)
        for user in ("u_late", "u_never"):
            with pytest.raises(psycopg.OperationalError, match="authentication failed"):
                px.sql("select 1", user=user, password="secret")
        assert px.sql("select 1", user="u_scram", password="secret") == [(1,)]


def test_2025_12819_search_path(make, box, server):
    """What a client that has not logged in yet asks for has no say in auth_query."""
    server.sql("drop schema if exists evil cascade", "create schema evil",
               "create or replace view secrets as select rolname, rolpassword from pg_authid",
               "create view evil.secrets as select rolname, 'md5" +
               hashlib.md5(b"guessed" + b"u_scram").hexdigest() + "'::text from pg_authid",
               db="db")
    box.write("users.txt", '"postgres" ""\n"admin" ""\n')
    px = make(auth="md5", more="auth_user = postgres\ntrack_extra_parameters = search_path\n"
              "auth_query = select * from secrets where rolname = $1\n")
    for _ in range(3):
        for how in ({"options": "-c search_path=evil,public"}, {}):
            with pytest.raises(psycopg.OperationalError, match="authentication failed"):
                px.sql("select 1", user="u_scram", password="guessed", **how)
            assert px.sql("select 1", user="u_scram", password="secret", **how) == [(1,)]
    packet = startup(user="u_scram", search_path="evil,public")
    assert b"SCRAM-SHA-256" in talk(px, packet, message(b"p", b"x\0"))
    server.sql("drop schema evil cascade", "drop view secrets", db="db")


FIRST = b"n,,n=,r=abcdefghijklmnop"


def initial(text=FIRST, length=None, mechanism=b"SCRAM-SHA-256\0"):
    length = len(text) if length is None else length
    return message(b"p", mechanism + struct.pack("!I", length & 0xffffffff) + text)


def test_2026_6664_length_of_the_first_message(make):
    px = make(auth="scram-sha-256")
    for user in ("u_plain", "stranger"):
        for n in (-1, -2, -16, 0x7fffffff, 0x80000000, 0xffffff00, 0, 1, len(FIRST) + 1):
            assert AUTH_OK not in talk(px, startup(user=user), initial(length=n))
        assert AUTH_OK not in talk(px, startup(user=user), initial(mechanism=b"SCRAM-SHA-256"))
    assert px.sql("select 1", user="u_plain", password="secret") == [(1,)]


def test_2026_19888_final_message_without_nonce(make):
    px = make(auth="scram-sha-256")
    proof = b",p=" + base64.b64encode(b"p" * 32)
    for user in ("u_plain", "stranger"):
        for final in (b"c=biws" + proof, b"c=biws," + proof, b"r=abc" + proof, b"p=x", b",p=", b",",
                      b"c=biws,r=" + proof, b"c=biws,r=abcdefghijklmnop" + proof, b"", b"\0",
                      b"c=biws,r=abcdefghijklmnop"):
            got = talk(px, startup(user=user), initial(), message(b"p", final))
            assert AUTH_OK not in got and b"authentication failed" in got
    assert px.sql("select 1", user="u_plain", password="secret") == [(1,)]


def server_first(nonce, salt=b"c2FsdHNhbHQ=", iterations=b"4096"):
    return b"r=" + nonce + b",s=" + salt + b",i=" + iterations


def challenge(make_first, then=None):
    """A server that asks for SCRAM; make_first(nonce of the client) is its first message."""
    def serve(s):
        s.sendall(sasl(10, b"SCRAM-SHA-256\0\0"))
        _, body = read_message(s)
        nonce = body.split(b"r=")[1]
        s.sendall(sasl(11, make_first(nonce)))
        if then:
            read_message(s)
            s.sendall(then)
        read_message(s)
    return serve


@pytest.mark.parametrize("nonce", [b"x" * 500, b"x" * 3000, b"x" * 100000, b"", b"\xff\xfe", b"a\0b"])
def test_2026_6665_nonce_of_the_server(fake, nonce):
    px = fake(challenge(lambda n: server_first(n + nonce), then=message(b"E", b"SFATAL\0C28P01\0"
                                                                        b"Mno such luck\0\0")))
    with pytest.raises(psycopg.OperationalError):
        px.sql("select 1", db="fake")
    alive(px)


def test_2026_6669_iterations_of_the_server(fake):
    asked = [b"1000001", b"2147483647", b"99999999999999999999", b"0", b"-1", b"", b"4096x"]
    left = list(asked)
    px = fake(challenge(lambda n: server_first(n + b"mine", iterations=left.pop(0))))
    for _ in asked:
        with pytest.raises(psycopg.OperationalError, match="invalid SCRAM message from server"):
            px.sql("select 1", db="fake")
    assert not left
    alive(px)


def test_server_without_a_signature(fake):
    """It asks for a proof and gives none: that is not the server that knows the password."""
    px = fake(challenge(lambda n: server_first(n + b"mine"), then=AUTH_OK + READY))
    with pytest.raises(psycopg.OperationalError, match="did not finish SCRAM"):
        px.sql("select 1", db="fake")
    other = fake(challenge(lambda n: server_first(n + b"mine"), then=sasl(
        12, b"v=" + base64.b64encode(b"s" * 32)) + AUTH_OK + READY))
    with pytest.raises(psycopg.OperationalError, match="signature is wrong"):
        other.sql("select 1", db="fake")
    alive(px)


@pytest.mark.parametrize("names", [b"", b"x", b"\0", b"xx", b"SCRAM-SHA-256", b"a\0SCRAM-SHA-256-PLUS", b"a\0bb"])
def test_list_of_mechanisms_without_its_end(fake, names):
    """It was read for ever, and the thread served nobody any more."""
    px = fake(lambda s: (s.sendall(sasl(10, names)), read_message(s)))
    with pytest.raises(psycopg.OperationalError, match="no SASL mechanism that is known"):
        px.sql("select 1", db="fake")
    alive(px)


def test_2026_6666_error_without_sqlstate(fake):
    replies = [message(b"E", b"SFATAL\0Mnothing to see\0\0"), message(b"E", b"\0"), message(b"E"),
               message(b"E", b"C"), message(b"E", b"SFATAL\0")]
    left = list(replies)
    px = fake(lambda s: s.sendall(left.pop(0)))
    for _ in replies:
        with pytest.raises(psycopg.OperationalError):
            px.sql("select 1", db="fake")
    assert not left
    alive(px)

    def later(s):
        s.sendall(AUTH_OK + message(b"S", b"client_encoding\0UTF8\0") +
                  message(b"K", b"\0\0\0\1\0\0\0\1") + READY)
        read_message(s)
        s.sendall(message(b"E", b"SERROR\0Mhalf an error\0\0"))
    other = fake(later)
    with pytest.raises(psycopg.Error):
        other.sql("select 1", db="fake")
    alive(other)


def test_2026_6667_stats_users_only_look(make, box):
    with open(box.path("users.txt"), "a") as f:
        f.write('"stats" ""\n')
    px = make(more="stats_users = stats\n")
    with px.connect() as c, px.connect(db="pgbouncer", user="stats",
                                       cursor_factory=psycopg.ClientCursor) as s:
        ident = [r["id"] for r in px.console("show clients") if r["user"] == "u_trust"][0]
        for what in (f"kill_client {ident}", "kill db", "pause", "resume", "disable db", "enable db",
                     "reconnect", "reload", "shutdown", "suspend", "set verbose = 1", "wait_close",
                     "show fds", f'kill_client "{ident}"'):
            with pytest.raises(psycopg.Error, match="admin access needed"):
                s.execute(what)
        assert s.execute("show pools").fetchall()
        assert c.execute("select 1").fetchone() == (1,)


def test_2026_6668_and_107348_sizes(make):
    """Headers that announce more than there can be, before and after login."""
    px = make(auth="md5", more="max_packet_size = 2147483647\n")
    for size in (0x80000000, 0x80000001, 0xffffffff, 0xfffffffb, 0, 1, 3):
        assert talk(px, struct.pack("!II", size, 196608))[:1] in (b"E", b"")
        head = b"p" + struct.pack("!I", size)
        assert AUTH_OK not in talk(px, startup(user="u_plain"), head + b"x" * 100)
    trust = make(name="trust")
    for size in (0x80000000, 0x80000001, 0xffffffff, 0, 3):
        for kind in (b"Q", b"P", b"d", b"X"):
            with socket.create_connection(("127.0.0.1", trust.port), timeout=20) as s:
                s.sendall(startup())
                read_all(s)
                s.sendall(kind + struct.pack("!I", size) + b"x" * 1000)
                s.shutdown(socket.SHUT_WR)
                while s.recv(65536):
                    pass
    alive(trust)
    assert px.sql("select 1", user="u_plain", password="secret") == [(1,)]


def test_2026_107349_empty_option_name(make):
    px = make(more="ignore_startup_parameters = extra_float_digits\n")
    lenient = make(more="ignore_startup_parameters = options\n", name="lenient")
    for options in ("-c=", "-c =", "-c =x", "--=", "-c", "--", "-c -c -c", "-c= -c=", " ", "\\",
                    "-c \\=", "-c ==", "-c ,=1", "-" * 100):
        got = talk(px, startup(options=options))
        assert READY in got if not options.strip(" ") else b"unsupported" in got, options
        assert READY in talk(lenient, startup(options=options)), options
    alive(px)
    alive(lenient)


def test_2026_107350_second_startup(make, box):
    """Only a password answers a request for one, whatever database was asked for."""
    box.write("users.txt", '"u_plain" "secret"\n"u_scram" "secret"\n"admin" "adm"\n')
    px = make(auth="scram-sha-256")
    for db in ("db", "nowhere", "pgbouncer"):
        for again in (startup(user="admin", db="pgbouncer"), startup(user="u_scram")):
            got = talk(px, startup(user="u_plain", db=db), again)
            assert AUTH_OK not in got and READY not in got
            if db != "pgbouncer":
                assert b"expected password response" in got
            got = talk(px, startup(user="u_plain", db=db), initial(), again)
            assert AUTH_OK not in got and READY not in got
    assert "new connection to server" not in px.log()
    # Who proves to be somebody hears of the database; nobody else does.
    with pytest.raises(psycopg.OperationalError, match="no such database: nowhere"):
        px.sql("select 1", db="nowhere", user="u_plain", password="secret")
    for user, password in (("u_plain", "wrong"), ("stranger", "secret")):
        with pytest.raises(psycopg.OperationalError, match="SASL authentication failed"):
            px.sql("select 1", db="nowhere", user=user, password=password)


def test_server_that_says_more_than_it_should(fake):
    """Messages of silly lengths and orders instead of a login."""
    replies = [b"R\0\0\0\0\0\0\0\0", b"R\xff\xff\xff\xff", b"R\0\0\0\x04", b"R\0\0\0\x06\0\0",
               sasl(10), sasl(10, b"UNKNOWN\0\0"), sasl(11, b"r=x"), sasl(12, b"v=x"), sasl(5),
               sasl(99), READY * 3 + b"Z", message(b"S", b"x"), message(b"K", b""),
               b"Z\0\0\0\x04", sasl(10, b"SCRAM-SHA-256\0\0") * 3, b"\0" * 5000, os.urandom(5000)]
    left = list(replies)

    def serve(s):
        s.sendall(left.pop(0))
        s.shutdown(socket.SHUT_WR)
        s.recv(65536)
    px = fake(serve)
    for _ in replies:
        with pytest.raises(psycopg.OperationalError):
            px.sql("select 1", db="fake")
    alive(px)
