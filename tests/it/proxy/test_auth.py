"""Who may log in, and how: from clients and to servers."""

import os
import pwd
import socket

import psycopg
import pytest

import rawpg
from conftest import make_cert


@pytest.mark.parametrize("auth", ["plain", "md5", "scram-sha-256"])
@pytest.mark.parametrize("user", ["u_md5", "u_scram", "u_plain"])
def test_password(make, auth, user):
    px = make(auth=auth)
    assert px.sql("select current_user", user=user, password="secret") == [(user,)]
    with pytest.raises(psycopg.OperationalError, match="authentication failed"):
        px.sql("select 1", user=user, password="wrong")


@pytest.mark.parametrize("auth,text", [("plain", "password"), ("md5", "password"),
                                       ("scram-sha-256", "SASL")])
def test_unknown_user(make, auth, text):
    px = make(auth=auth)
    with pytest.raises(psycopg.OperationalError, match=text + " authentication failed"):
        px.sql("select 1", user="stranger", password="secret")


def test_trust_needs_a_known_user(make):
    px = make(auth="trust")
    with pytest.raises(psycopg.OperationalError, match="authentication failed"):
        px.sql("select 1", user="stranger")
    px = make(auth="trust", more="auth_user = postgres\nauth_dbname = db", name="asks")
    with pytest.raises(psycopg.OperationalError, match="no such user: stranger"):
        px.sql("select 1", user="stranger")


def test_any_with_forced_user(make, server):
    px = make(auth="any", databases=f"forced = host=127.0.0.1 port={server.port} dbname=db "
                                    "user=u_plain password=secret")
    assert px.sql("select current_user", db="forced", user="whoever") == [("u_plain",)]
    # Nobody chooses whom the server sees.
    with pytest.raises(psycopg.OperationalError, match="bouncer config error"):
        px.sql("select 1", user="u_plain")
    assert "auth_type=any requires forced user" in px.log()


def test_scram_secret_and_keys(make, server, box):
    """The auth file holds only the secret of the server: the client's keys open the server."""
    secret = server.sql("select rolpassword from pg_authid where rolname = 'u_scram'")[0][0]
    box.write("users.txt", f'"u_scram" "{secret}"\n"admin" ""\n')
    px = make(auth="scram-sha-256")
    for _ in range(3):
        assert px.sql("select current_user", user="u_scram", password="secret") == [("u_scram",)]
    with pytest.raises(psycopg.OperationalError, match="SASL authentication failed"):
        px.sql("select 1", user="u_scram", password="secre")


def test_auth_query(make, server, box):
    box.write("users.txt", '"postgres" ""\n"admin" ""\n')
    px = make(auth="scram-sha-256", more="auth_user = postgres\nauth_dbname = db")
    for _ in range(2):
        assert px.sql("select current_user", user="u_scram", password="secret") == [("u_scram",)]
    with pytest.raises(psycopg.OperationalError, match="SASL authentication failed"):
        px.sql("select 1", user="u_scram", password="wrong")
    with pytest.raises(psycopg.OperationalError, match="SASL authentication failed"):
        px.sql("select 1", user="stranger", password="wrong")


def test_auth_query_md5(make, box):
    box.write("users.txt", '"postgres" ""\n"admin" ""\n')
    px = make(auth="md5", more="auth_user = postgres")
    assert px.sql("select current_user", user="u_md5", password="secret") == [("u_md5",)]


def test_hba(make, box):
    box.write("hba.conf", "host db u_md5 127.0.0.0/8 md5\n"
                          "host all u_scram 127.0.0.1 255.255.255.255 scram-sha-256\n"
                          "hostssl all u_plain all trust\nhost all u_trust,admin all trust\n")
    px = make(auth="hba", more="auth_hba_file = @DIR@/hba.conf")
    assert px.sql("select current_user", user="u_md5", password="secret") == [("u_md5",)]
    assert px.sql("select current_user", user="u_scram", password="secret") == [("u_scram",)]
    assert px.sql("select 1", user="u_trust") == [(1,)]
    with pytest.raises(psycopg.OperationalError, match="no authentication method is found"):
        px.sql("select 1", user="u_plain", password="secret")


def test_hba_own_addresses(make, box):
    """samehost and samenet: 127.0.0.3 is no address of an interface, but in the net of one."""
    box.write("hba.conf", "host all admin all trust\nhost all u_trust samehost trust\n"
                          "host all postgres samenet trust\nhost all u_plain 10.99.0.0/16 trust\n")
    px = make(auth="hba", more="auth_hba_file = @DIR@/hba.conf")

    def comes_in(user, source):
        with socket.create_connection(("127.0.0.1", px.port), source_address=(source, 0)) as s:
            s.sendall(rawpg.startup(user=user, database="db"))
            return s.recv(1) == b"R"
    for user, source, want in [("u_trust", "127.0.0.1", True), ("u_trust", "127.0.0.3", False),
                               ("postgres", "127.0.0.1", True), ("postgres", "127.0.0.3", True),
                               ("u_plain", "127.0.0.1", False)]:
        assert comes_in(user, source) == want, (user, source)


def test_hba_host_names(make, box):
    """By the name of the address, which must have that address."""
    name = socket.gethostbyaddr("127.0.0.1")[0]
    box.write("hba.conf", "host all admin all trust\nhost all u_plain .example.com trust\n"
                          f"host all u_trust {name.upper()} trust\nhost all u_md5 {name} md5\n"
                          "host all postgres nobody.example.com reject\nhost all all all trust\n")
    px = make(auth="hba", more="auth_hba_file = @DIR@/hba.conf")
    assert px.sql("select 1", user="u_trust") == [(1,)]
    assert px.sql("select 1", user="u_plain") == [(1,)]
    assert px.sql("select 1", user="postgres") == [(1,)]
    assert px.sql("select 1", user="u_md5", password="secret") == [(1,)]
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        px.sql("select 1", user="u_md5", password="wrong")
    # Who leaves while it is looked up does no harm.
    for _ in range(50):
        with socket.create_connection(("127.0.0.1", px.port)) as s:
            s.sendall(rawpg.startup(user="u_trust", database="db"))
    assert px.sql("select 1", user="u_trust") == [(1,)]


def test_hba_names(make, box):
    """Quoted names are no keywords; blanks may stand around a comma."""
    box.write("hba.conf", 'host "all" all all trust\nhost all "all" , "a ""b" all trust\n'
                          'host db u_md5 , u_trust all trust # the end\nhost all admin all trust\n')
    px = make(auth="hba", more="auth_hba_file = @DIR@/hba.conf")
    assert px.sql("select current_user", user="u_trust") == [("u_trust",)]
    with pytest.raises(psycopg.OperationalError, match="no authentication method is found"):
        px.sql("select 1", user="u_plain")


def test_ident_map(make, box):
    me = pwd.getpwuid(os.getuid()).pw_name
    box.write("hba.conf", "local db all peer map=m\nhost all admin all trust\n")
    box.write("ident.conf", f'# who may be whom\nm {me} u_trust\nm "{me}" "all"\nother {me} all\n')
    px = make(auth="hba", more="auth_hba_file = @DIR@/hba.conf\nunix_socket_dir = @DIR@\n"
                               "auth_ident_file = @DIR@/ident.conf")
    where = {"host": box.path()}
    assert px.sql("select current_user", user="u_trust", **where) == [("u_trust",)]
    # A quoted all is a name, and the other map is not asked.
    with pytest.raises(psycopg.OperationalError, match="unix socket login rejected"):
        px.sql("select 1", user="u_plain", **where)
    assert "ident map m cannot be matched" in px.log()
    box.write("ident.conf", f"m {me} all\n")
    px.console("reload")
    assert px.sql("select current_user", user="u_plain", **where) == [("u_plain",)]
    for bad in ("m\n", f"m {me} +group\n", "m /^(.* all\n", "m /^x$ \\1\n", f"m {me} a b\n"):
        box.write("ident.conf", bad)
        with pytest.raises(psycopg.Error, match="ident.conf:1"):
            px.console("reload")
    assert px.sql("select current_user", user="u_plain", **where) == [("u_plain",)]


@pytest.mark.parametrize("line", ["host all all all peer", "local all all md5 map=m",
                                  "local all all peer map=", "local all all peer shout=1",
                                  "hostssl all all all cert clientcert=1", "host all all",
                                  'host all "all all trust', "host all +admins all trust",
                                  "host all all some_name 255.0.0.0 trust",
                                  "host all all 10.1.2 trust"])
def test_hba_is_not_guessed(make, box, line):
    box.write("hba.conf", "host all all all trust\n")
    px = make(auth="hba", more="auth_hba_file = @DIR@/hba.conf")
    box.write("hba.conf", "host all all all trust\n" + line + "\n")
    with pytest.raises(psycopg.Error, match="hba.conf:2"):
        px.console("reload")


def test_tls(make, box):
    make_cert(box)
    px = make(auth="scram-sha-256", more="""client_tls_sslmode = require
client_tls_key_file = @DIR@/server.key
client_tls_cert_file = @DIR@/server.crt
server_tls_sslmode = require""")
    with px.connect(user="u_scram", password="secret", sslmode="verify-full",
                    sslrootcert=box.path("server.crt")) as c:
        assert c.pgconn.ssl_in_use
        assert c.execute("select ssl from pg_stat_ssl where pid = pg_backend_pid()") \
            .fetchone() == (True,)
        big = c.execute("select repeat('x', 3000000)").fetchone()[0]
        assert len(big) == 3000000
        with c.cursor() as cur:
            with cur.copy("copy t from stdin") as copy:
                for i in range(20000):
                    copy.write_row((i, "x" * 50))
        assert c.execute("select count(*) from t where b = repeat('x', 50)").fetchone()[0] == 20000
        c.execute("delete from t where b = repeat('x', 50)")
    with pytest.raises(psycopg.OperationalError, match="SSL required"):
        px.sql("select 1", user="u_scram", password="secret", sslmode="disable")


def test_server_certificate_is_verified(make, box):
    make_cert(box)  # not the server's
    px = make(more="server_tls_sslmode = verify-ca\nserver_tls_ca_file = @DIR@/server.crt")
    with pytest.raises(psycopg.OperationalError, match="certificate verify failed"):
        px.sql("select 1")


def test_wrong_server_password(make, box):
    box.write("users.txt", '"u_scram" "guess"\n"admin" ""\n')
    px = make(auth="trust")
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        px.sql("select 1", user="u_scram")
