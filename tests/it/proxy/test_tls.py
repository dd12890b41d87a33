"""TLS on both sides: modes, settings, certificates, direct negotiation, and what is not let in."""
import itertools
import os
import re
import shutil
import socket
import ssl
import struct
import subprocess
import time

import psycopg
import pytest

from conftest import BASE, Box, Postgres, Proxy, prepare, run, users, wait_for

SSL_REQUEST = struct.pack("!II", 8, 80877103)
GSS_REQUEST = struct.pack("!II", 8, 80877104)


def startup(user="u_trust", db="db", version=196608, **more):
    body = b"".join(k.encode() + b"\0" + v.encode() + b"\0"
                    for k, v in {"user": user, "database": db, **more}.items()) + b"\0"
    return struct.pack("!II", len(body) + 8, version) + body


def read_all(s, until=b"Z\0\0\0\x05I"):
    got = b""
    while until not in got:
        try:
            part = s.recv(65536)
        except (ConnectionError, ssl.SSLError):
            part = b""
        if not part:
            break
        got += part
    return got


def certificate(box, name, issuer, subject, *extra):
    """name.key and name.crt, signed by issuer (itself: an authority)."""
    key, crt, csr = (box.path(f"{name}.{e}") for e in ("key", "crt", "csr"))
    if name == issuer:
        run("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", "-subj",
            subject, "-keyout", key, "-out", crt)
    else:
        run("openssl", "req", "-new", "-newkey", "rsa:2048", "-nodes", "-subj", subject, "-keyout",
            key, "-out", csr, *(("-addext", extra[0]) if extra else ()))
        run("openssl", "x509", "-req", "-in", csr, "-CA", box.path(issuer + ".crt"), "-CAkey",
            box.path(issuer + ".key"), "-CAcreateserial", "-days", "30", "-copy_extensions", "copy",
            "-out", crt)
    os.chmod(key, 0o600)
    if os.getuid() == 0:
        # psycopg runs as root here and wants its key to be its own.
        shutil.copy(key, key + ".root")
        os.chmod(key + ".root", 0o600)


def expired(box, name, issuer, subject):
    """As certificate(), of a month long past."""
    certificate(box, name, issuer, subject)
    box.write("issuer.cnf", f"""[ca]
default_ca = it
[it]
database = {box.write("issued", "")}
new_certs_dir = {os.path.dirname(box.path("issued"))}
certificate = {box.path(issuer + ".crt")}
private_key = {box.path(issuer + ".key")}
default_md = sha256
rand_serial = yes
policy = any
[any]
commonName = supplied
""")
    run("openssl", "ca", "-batch", "-notext", "-config", box.path("issuer.cnf"), "-startdate",
        "20200101000000Z", "-enddate", "20200201000000Z", "-in", box.path(name + ".csr"), "-out",
        box.path(name + ".crt"))


@pytest.fixture(scope="module")
def world():
    box = Box()
    try:
        users(box)
        certificate(box, "ca", "ca", "/CN=our ca")
        certificate(box, "other", "other", "/CN=another ca")
        certificate(box, "server", "ca", "/CN=somebody", "subjectAltName=IP:127.0.0.1")
        certificate(box, "proxy", "ca", "/CN=proxy", "subjectAltName=IP:127.0.0.1,DNS:localhost")
        certificate(box, "u_trust", "ca", "/CN=u_trust")
        certificate(box, "mallory", "other", "/CN=u_trust")
        expired(box, "old", "ca", "/CN=u_trust")
        pg = Postgres(box, "pg", ssl=True)
        prepare(pg)
        with open(os.path.join(pg.data, "postgresql.conf"), "a") as f:
            f.write(f"\nssl_ca_file = '{box.path('ca.crt')}'\n")
        with open(os.path.join(pg.data, "pg_hba.conf"), "w") as f:
            f.write("hostssl db u_plain all cert clientcert=verify-full map=m\n"
                    "host all all all trust\n")
        with open(os.path.join(pg.data, "pg_ident.conf"), "w") as f:
            f.write("m u_trust u_plain\n")
        pg.stop()
        pg.start()
        box.pg = pg
        yield box
    finally:
        box.close()


numbers = itertools.count()
CLIENT = """client_tls_key_file = @DIR@/proxy.key
client_tls_cert_file = @DIR@/proxy.crt
client_tls_ca_file = @DIR@/ca.crt
client_tls_sslmode = {mode}
"""


@pytest.fixture
def make(world):
    made = []

    def fn(more="", mode=None, auth="trust", databases="", host="127.0.0.1"):
        ini = BASE.format(pg=world.pg.port, mode="session", auth=auth, databases=databases,
                          more=(CLIENT.format(mode=mode) if mode else "") + more)
        px = Proxy(world, ini.replace("db = host=127.0.0.1", f"db = host={host}"),
                   name=f"px{next(numbers)}")
        world.ends.remove(px.kill)
        made.append(px)
        return px
    yield fn
    for px in made:
        px.kill()


def root(world):
    return {"sslmode": "verify-full", "sslrootcert": world.path("ca.crt")}


def own(world, name):
    key = world.path(name + ".key")
    return {"sslcert": world.path(name + ".crt"),
            "sslkey": key + ".root" if os.path.exists(key + ".root") else key}


def error(px, statement, **kw):
    """What goes wrong, or nothing: servers opened before a change are closed soon, not at once."""
    try:
        px.sql(statement, **kw)
    except psycopg.Error as e:
        return str(e)
    return ""


def cell(px, name, of="clients", user="u_trust"):
    return [r[name] for r in px.console(f"show {of}") if r["user"] == user]


@pytest.mark.parametrize("mode,plain,tls,bare", [
    (None, True, False, True), ("allow", True, True, True), ("prefer", True, True, True),
    ("require", False, True, True), ("verify-ca", False, True, False),
    ("verify-full", False, True, False)])
def test_client_modes(make, world, mode, plain, tls, bare):
    """bare: without a certificate of the client's."""
    px = make(mode=mode, auth="any", databases=f"* = host=127.0.0.1 port={world.pg.port} dbname=db user=u_trust")

    def ok(**kw):
        try:
            with px.connect(db="forced", **kw) as c:
                return c.pgconn.ssl_in_use == (kw["sslmode"] != "disable")
        except psycopg.OperationalError as e:
            assert re.search("SSL required|does not support SSL|certificate required|"
                             "sslv3 alert|tlsv1|unexpected eof|eof detected|SSL error", str(e)), e
            return False
    assert ok(sslmode="disable") == plain
    assert ok(**root(world)) == (tls and bare)
    assert ok(**root(world), **own(world, "u_trust")) == tls
    # A certificate nobody vouches for is of no interest where none is demanded.
    assert ok(**root(world), **own(world, "mallory")) == (tls and bare)


def test_client_settings(make, world):
    px = make(mode="require", more="client_tls_protocols = tlsv1.2\nadmin_users = admin\n"
              "client_tls_ciphers = ECDHE-RSA-AES128-GCM-SHA256\n")
    con = dict(root(world), sslmode="require")

    def seen(**kw):
        with px.connect(**con, **kw) as c:
            assert c.execute("select 1").fetchone() == (1,)
            return cell(px, "tls")[-1]

    def change(**kw):
        for k, v in kw.items():
            px.console(f"set {k} = '{v}'")
    assert seen().split("/ECDH=")[0] == "TLSv1.2/ECDHE-RSA-AES128-GCM-SHA256"
    assert "login attempt: db=db user=u_trust tls=TLSv1.2/ECDHE-RSA-AES128-GCM-SHA256" in px.log()
    change(client_tls_ciphers="DHE-RSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384")
    assert seen().startswith("TLSv1.2/")
    change(client_tls_ecdhcurve="none")
    assert seen().split("/ECDH=")[0] == "TLSv1.2/DHE-RSA-AES256-GCM-SHA384"
    change(client_tls_ecdhcurve="auto", client_tls_dheparams="none")
    assert seen().split("/ECDH=")[0] == "TLSv1.2/ECDHE-RSA-AES256-GCM-SHA384"
    change(client_tls_ciphers="default", client_tls_dheparams="auto",
           client_tls_protocols="tlsv1.2, tlsv1.3", client_tls_ecdhcurve="secp384r1",
           client_tls13_ciphers="TLS_CHACHA20_POLY1305_SHA256")
    assert seen().split("/ECDH=")[0] == "TLSv1.3/TLS_CHACHA20_POLY1305_SHA256"
    with pytest.raises(psycopg.OperationalError):
        seen(ssl_max_protocol_version="TLSv1.1")
    change(client_tls_protocols="all:!tlsv1.3")
    assert seen().startswith("TLSv1.2/")
    for key, value in (("client_tls_protocols", "tlsv9"), ("client_tls_ciphers", "nonsense"),
                       ("client_tls13_ciphers", "nonsense"), ("client_tls_ecdhcurve", "circle"),
                       ("client_tls_dheparams", "maybe"), ("server_tls_protocols", "!all"),
                       ("server_tls_ciphers", "nonsense"), ("client_tls_ca_file", "/nowhere"),
                       ("client_tls_key_file", "/nowhere")):
        with pytest.raises(psycopg.Error):
            change(**{key: value})
    # A refused change leaves all as it was, and so does a key whose certificate is yet to come.
    assert seen().startswith("TLSv1.2/")
    change(client_tls_key_file=world.path("server.key"))
    assert "keeping the TLS setup of before" in px.log()
    assert seen().startswith("TLSv1.2/")
    change(client_tls_cert_file=world.path("server.crt"))
    assert seen().startswith("TLSv1.2/")


def test_server_modes(make, world):
    """The server's certificate is for 127.0.0.1, not for localhost."""
    shutil.copy(world.path("other.crt"), world.path("wrong.crt"))
    px = make(more="server_tls_sslmode = verify-full\nserver_tls_ca_file = @DIR@/ca.crt\n"
              "server_login_retry = 0\nserver_tls_protocols = tlsv1.3\n"
              "server_tls13_ciphers = TLS_AES_128_GCM_SHA256\n",
              databases=f"named = host=localhost port={world.pg.port} dbname=db\n")
    ask = "select ssl, cipher from pg_stat_ssl where pid = pg_backend_pid()"
    assert px.sql(ask) == [(True, "TLS_AES_128_GCM_SHA256")]
    assert cell(px, "tls", "servers") == ["TLSv1.3/TLS_AES_128_GCM_SHA256/ECDH=prime256v1"]
    with pytest.raises(psycopg.OperationalError, match="certificate verify failed"):
        px.sql(ask, db="named")
    px.console("set server_tls_sslmode = 'verify-ca'")
    assert px.sql(ask, db="named")[0][0]
    px.console(f"set server_tls_ca_file = '{world.path('wrong.crt')}'")
    wait_for(lambda: "certificate verify failed" in error(px, ask, db="named"))
    px.console("set server_tls_sslmode = 'require'")
    assert px.sql(ask, db="named")[0][0]
    px.console("set server_tls_sslmode = 'disable'")
    wait_for(lambda: px.sql(ask, db="named") == [(False, None)])
    wait_for(lambda: px.sql(ask) == [(False, None)])


def test_server_settings_reconnect(make, world):
    px = make(more="server_tls_sslmode = require\n")
    pid = px.sql("select pg_backend_pid()")
    px.console("reload")
    assert px.sql("select pg_backend_pid()") == pid
    with open(px.file) as f:
        ini = f.read()
    px.write(ini.replace("server_tls_sslmode = require", "server_tls_sslmode = prefer"))
    with px.connect() as c:
        here = c.execute("select pg_backend_pid()").fetchone()
        px.console("reload")
        assert c.execute("select pg_backend_pid()").fetchone() == here
        assert set(cell(px, "close_needed", "servers")) == {1}
    wait_for(lambda: px.sql("select pg_backend_pid()") != [here])


def test_certificate_for_the_server(make, world):
    px = make(more="server_tls_sslmode = require\nserver_tls_key_file = @DIR@/u_trust.key\n"
              "server_tls_cert_file = @DIR@/u_trust.crt\n")
    assert px.sql("select current_user", user="u_plain") == [("u_plain",)]
    px.console("set server_login_retry = 0")
    px.console("set server_tls_cert_file = ''")
    wait_for(lambda: "certificate" in error(px, "select 1", user="u_plain"))


def test_cert_login(make, world):
    px = make(mode="verify-full", auth="cert")
    mine = own(world, "u_trust")
    assert px.sql("select current_user", **root(world), **mine) == [("u_trust",)]
    with pytest.raises(psycopg.OperationalError, match="certificate authentication failed"):
        px.sql("select 1", user="u_plain", **root(world), **mine)


def test_cert_login_by_map(make, world):
    world.write("hba.conf", "hostssl db u_plain all cert map=m\nhostssl all u_trust all cert\n"
                            "hostnossl all all all reject\nhost all all all trust\n")
    world.write("ident.conf", "m u_trust u_plain\n")
    px = make(mode="require", auth="hba", more="auth_hba_file = @DIR@/hba.conf\n"
              "auth_ident_file = @DIR@/ident.conf\n")
    con = root(world)
    mine = own(world, "u_trust")
    assert px.sql("select current_user", user="u_trust", **con, **mine) == [("u_trust",)]
    with px.connect(user="u_md5", **con) as c:
        assert c.pgconn.ssl_in_use
    for bad in (own(world, "mallory"), {}):
        with pytest.raises(psycopg.OperationalError, match="certificate authentication failed"):
            px.sql("select 1", user="u_trust", **con, **bad)
    with pytest.raises(psycopg.OperationalError, match="certificate authentication failed"):
        px.sql("select 1", user="u_plain", **con, **own(world, "mallory"))


def handshake(px, world, alpn=None, direct=False, first=SSL_REQUEST, max_version=None):
    s = socket.create_connection(("127.0.0.1", px.port), timeout=20)
    ctx = ssl.create_default_context(cafile=world.path("ca.crt"))
    if alpn:
        ctx.set_alpn_protocols(alpn)
    if max_version:
        ctx.maximum_version = max_version
    if not direct:
        s.sendall(first)
        assert s.recv(1) == b"S"
    return ctx.wrap_socket(s, server_hostname="127.0.0.1")


def test_direct(make, world):
    px = make(mode="require")
    t = handshake(px, world, ["postgresql"], direct=True)
    assert t.selected_alpn_protocol() == "postgresql"
    # Asking again for what one has is answered with no.
    t.sendall(SSL_REQUEST)
    assert t.recv(1) == b"N"
    t.sendall(startup())
    assert read_all(t).endswith(b"Z\0\0\0\x05I")
    t.close()
    t = handshake(px, world, direct=True)
    assert b"without ALPN protocol negotiation extension" in read_all(t)
    with pytest.raises((ssl.SSLError, ConnectionError)):
        handshake(px, world, ["http/1.1"], direct=True).recv(1)
    # Asked for, it needs none.
    t = handshake(px, world)
    t.sendall(startup())
    assert read_all(t).endswith(b"Z\0\0\0\x05I")
    off = make()
    with pytest.raises((ssl.SSLError, ConnectionError)):
        handshake(off, world, ["postgresql"], direct=True)
    assert off.sql("select 1") == [(1,)]


def test_direct_in_pieces_and_with_garbage(make, world):
    """The first packet is read before it is known to be TLS: nothing of it may get lost, and nothing
    behind the hello may pass for something that came through TLS."""
    px = make(mode="allow")
    ctx = ssl.create_default_context(cafile=world.path("ca.crt"))
    ctx.set_alpn_protocols(["postgresql"])
    for split in (1, 3, 100, None):
        into, out = ssl.MemoryBIO(), ssl.MemoryBIO()
        t = ctx.wrap_bio(into, out, server_hostname="127.0.0.1")
        with pytest.raises(ssl.SSLWantReadError):
            t.do_handshake()
        hello = out.read()
        with socket.create_connection(("127.0.0.1", px.port), timeout=20) as s:
            if split is None:
                s.sendall(hello + startup(user="admin", db="pgbouncer"))
                assert b"R\0\0\0\x08\0\0\0\0" not in read_all(s)
                continue
            s.sendall(hello[:split])
            time.sleep(0.2)
            s.sendall(hello[split:])
            while True:
                into.write(s.recv(65536))
                try:
                    t.do_handshake()
                    break
                except ssl.SSLWantReadError:
                    pass
            t.write(startup())
            s.sendall(out.read())
            got = b""
            while not got.endswith(b"Z\0\0\0\x05I"):
                into.write(s.recv(65536))
                try:
                    got += t.read(65536)
                except ssl.SSLWantReadError:
                    pass
    assert "user=admin" not in px.log()


def test_gss_is_declined(make, world):
    px = make(mode="allow")
    with socket.create_connection(("127.0.0.1", px.port), timeout=20) as s:
        s.sendall(GSS_REQUEST)
        assert s.recv(1) == b"N"
        s.sendall(startup())
        assert read_all(s).endswith(b"Z\0\0\0\x05I")


def test_garbage_after_the_request(make, world):
    """CVE-2021-3935: what was sent in clear must not be read as if it had come through TLS."""
    px = make(mode="allow")
    evil = startup(user="admin", db="pgbouncer")
    with socket.create_connection(("127.0.0.1", px.port), timeout=20) as s:
        s.sendall(SSL_REQUEST + evil)
        assert b"received unencrypted data after SSL request" in read_all(s)
    # In a packet of its own it is no TLS record.
    with socket.create_connection(("127.0.0.1", px.port), timeout=20) as s:
        s.sendall(SSL_REQUEST)
        assert s.recv(1) == b"S"
        s.sendall(evil)
        assert b"R\0\0\0\x08\0\0\0\0" not in read_all(s)
    assert "user=admin" not in px.log()


def test_no_renegotiation(make, world):
    px = make(mode="require", more="client_tls_protocols = tlsv1.2\n")
    done = subprocess.run(["openssl", "s_client", "-starttls", "postgres", "-connect",
                           f"127.0.0.1:{px.port}", "-tls1_2"], input="R\n", text=True,
                          capture_output=True, timeout=30)
    assert "RENEGOTIATING" in done.stdout + done.stderr
    assert "no renegotiation" in done.stdout + done.stderr


def test_new_files(make, world):
    """A reload brings new certificates; who is connected stays."""
    for end in ("key", "crt"):
        shutil.copy(world.path("proxy." + end), world.path("now." + end))
        if os.getuid() == 0:
            shutil.chown(world.path("now." + end), "postgres")
    more = CLIENT.format(mode="require").replace("/proxy.", "/now.")
    px = make(more=more)

    def serial():
        t = handshake(px, world)
        try:
            return t.getpeercert()["serialNumber"]
        finally:
            t.close()
    old = serial()
    with px.connect(**root(world)) as c:
        certificate(world, "now", "ca", "/CN=proxy", "subjectAltName=IP:127.0.0.1")
        assert serial() == old
        px.console("reload")
        assert serial() != old
        assert c.execute("select 1").fetchone() == (1,)
        world.write("now.crt", "nonsense")
        with pytest.raises(psycopg.Error, match="certificate"):
            px.console("reload")
        assert c.execute("select 1").fetchone() == (1,)
        assert serial() != old


def test_demands_need_an_authority(make, world):
    with pytest.raises(AssertionError, match="need client_tls_ca_file"):
        make(mode="verify-ca", more="client_tls_ca_file =\n")


@pytest.mark.parametrize("who,why", [
    ("old", "certificate verify failed: certificate has expired"),
    ("mallory", "certificate verify failed: unable to get local issuer certificate"),
    (None, "peer did not return a certificate")])
def test_the_log_says_why_a_client_fails(make, world, who, why):
    px = make(mode="verify-ca")
    with pytest.raises(psycopg.OperationalError):
        px.sql("select 1", sslmode="require", **(own(world, who) if who else {}))
    wait_for(lambda: f"closing because: TLS handshake failed: {why}" in px.log())
    assert f"WARNING TLS handshake error: TLS handshake failed: {why}" in px.log().replace(
        re.search(r"C-0x\S+ \S+ ", px.log()).group(), "")


def test_clients_hear_why_a_server_fails(make, world):
    px = make(more="server_tls_sslmode = verify-full\nserver_tls_ca_file = @DIR@/ca.crt\n"
              "server_login_retry = 0\n",
              databases=f"named = host=localhost port={world.pg.port} dbname=db\n")
    assert "certificate verify failed: hostname mismatch" in error(px, "select 1", db="named")
    px.console(f"set server_tls_ca_file = '{world.path('other.crt')}'")
    wait_for(lambda: "self-signed" in error(px, "select 1", db="named"))


def test_a_server_that_does_not_like_our_certificate(make, world):
    """In TLS 1.3 it says so behind the handshake: clients hear it, and do not wait for nothing."""
    px = make(more="server_tls_sslmode = require\nserver_tls_key_file = @DIR@/mallory.key\n"
              "server_tls_cert_file = @DIR@/mallory.crt\n")
    assert "alert unknown ca" in error(px, "select 1")
    assert re.search("server login failed: .*alert unknown ca", px.log())


def test_a_server_that_ends_in_the_handshake_is_waited_for(make, world):
    """As one that restarts does: it refuses nothing."""
    with socket.create_server(("127.0.0.1", 0)) as dead:
        px = make(more="server_tls_sslmode = require\nserver_login_retry = 0\n"
                  "query_wait_timeout = 0\n",
                  databases=f"dies = host=127.0.0.1 port={dead.getsockname()[1]} dbname=db\n")
        with socket.create_connection(("127.0.0.1", px.port)) as s:
            s.sendall(startup(db="dies"))
            for _ in range(2):
                there, _ = dead.accept()
                with there:
                    assert there.recv(8) == SSL_REQUEST
                    there.sendall(b"S")
                    assert there.recv(5)
            s.settimeout(0.5)
            with pytest.raises(TimeoutError):
                s.recv(1)


def test_reload_before_the_server_agrees(make, world):
    """TLS was asked for, is not configured any more when the server agrees: nobody hears of it."""
    with socket.create_server(("127.0.0.1", 0)) as slow:
        ini = {"databases": f"slow = host=127.0.0.1 port={slow.getsockname()[1]} dbname=db\n"}
        px = make(more="server_tls_sslmode = prefer\nserver_login_retry = 0\n", **ini)
        with socket.create_connection(("127.0.0.1", px.port), timeout=20) as s:
            s.sendall(startup(db="slow"))
            there, _ = slow.accept()
            with there:
                there.settimeout(20)
                assert there.recv(8) == SSL_REQUEST
                with open(px.file) as f:
                    text = f.read()
                px.write(text.replace("server_tls_sslmode = prefer", "server_tls_sslmode = disable"))
                px.console("reload")
                there.sendall(b"S")
                assert there.recv(1) == b"\x16"  # a ClientHello
            there, _ = slow.accept()
            with there:
                there.settimeout(20)
                assert there.recv(8)[4:] == b"\0\3\0\0"  # in clear
            s.settimeout(0.5)
            with pytest.raises(TimeoutError):
                s.recv(1)


@pytest.mark.parametrize("show", ["clients", "servers", "sockets", "active_sockets"])
def test_shown_amid_the_handshake(make, world, show):
    """Nothing is agreed on yet, and nothing is told; who asked for TLS and says no more ends no proxy."""
    with socket.create_server(("127.0.0.1", 0)) as mute:
        px = make(mode="allow", more="server_tls_sslmode = require\n",
                  databases=f"mute = host=127.0.0.1 port={mute.getsockname()[1]} dbname=db\n")
        with socket.create_connection(("127.0.0.1", px.port), timeout=20) as s, \
                socket.create_connection(("127.0.0.1", px.port), timeout=20) as waits:
            s.sendall(SSL_REQUEST)
            assert s.recv(1) == b"S"
            waits.sendall(startup(db="mute"))
            there, _ = mute.accept()
            with there:
                there.settimeout(20)
                assert there.recv(8) == SSL_REQUEST
                there.sendall(b"S")
                assert there.recv(5)
                for _ in range(3):
                    shown = [row for row in px.console("show " + show) if row.get("user") != "admin"]
                    assert all("TLS" not in row["tls"] for row in shown), shown
                assert show == "active_sockets" or len(shown) > 0
    assert px.process.poll() is None


@pytest.mark.parametrize("what,why", [
    ("client_tls_cert_file = /nowhere/x.crt", 'certificate "/nowhere/x.crt": No such file'),
    ("client_tls_key_file = @DIR@/server.key", "key values mismatch"),
    ("client_tls_ca_file = /nowhere/ca.crt", 'CA file "/nowhere/ca.crt": No such file')])
def test_files_that_cannot_be_used(make, world, what, why):
    with pytest.raises(AssertionError, match=why):
        make(mode="require", more=what + "\n")
    px = make(mode="require")
    with open(px.file) as f:
        ini = f.read()
    px.write(re.sub(what.split()[0] + " = .*", what.replace("@DIR@", os.path.dirname(px.file)),
                    ini))
    with pytest.raises(psycopg.Error, match=why):
        px.console("reload")
    assert re.search(f"ERROR could not reload: .*{why}", px.log())
    assert px.sql("select 1", sslmode="require") == [(1,)]
