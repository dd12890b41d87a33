"""LDAP, PAM, files of names, maps with patterns, and what a login may bring along."""
import hashlib
import os
import pwd
import re
import shutil
import signal
import socket
import struct
import subprocess
import threading

import psycopg
import pytest

from conftest import free_port, wait_for
from test_tls import GSS_REQUEST, SSL_REQUEST, read_all, startup

SLAPD = """include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
modulepath /usr/lib/ldap
moduleload back_mdb
pidfile {dir}/slapd.pid
TLSCACertificateFile {dir}/ldap.crt
TLSCertificateFile {dir}/ldap.crt
TLSCertificateKeyFile {dir}/ldap.key
database mdb
directory {dir}/ldap
suffix "dc=example,dc=net"
rootdn "cn=Manager,dc=example,dc=net"
rootpw secret
access to attrs=userPassword by anonymous auth by * none
access to * by * read
"""
LDIF = """dn: dc=example,dc=net
objectClass: top
objectClass: dcObject
objectClass: organization
dc: example
o: Example

dn: uid=u_plain,dc=example,dc=net
objectClass: inetOrgPerson
uid: u_plain
sn: plain
cn: Plain One
mail: plain@example.net
userPassword: secret

dn: uid=u_md5,dc=example,dc=net
objectClass: inetOrgPerson
uid: u_md5
sn: other
cn: Other
mail: other@example.net
userPassword: other
"""


@pytest.fixture(scope="module")
def ldap(tmp_path_factory):
    if not os.path.exists("/usr/sbin/slapd"):
        pytest.skip("no slapd")
    d = str(tmp_path_factory.mktemp("ldap"))
    os.mkdir(d + "/ldap")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj",
                    "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout",
                    d + "/ldap.key", "-out", d + "/ldap.crt"], check=True, capture_output=True)
    with open(d + "/slapd.conf", "w") as f:
        f.write(SLAPD.format(dir=d))
    with open(d + "/data.ldif", "w") as f:
        f.write(LDIF)
    port, tls = free_port(), free_port()
    subprocess.run(["/usr/sbin/slapadd", "-f", d + "/slapd.conf", "-l", d + "/data.ldif"],
                   check=True, capture_output=True)
    p = subprocess.Popen(["/usr/sbin/slapd", "-d", "0", "-f", d + "/slapd.conf", "-h",
                          f"ldap://127.0.0.1:{port} ldaps://127.0.0.1:{tls}"],
                         stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def up():
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
    try:
        wait_for(up)
        old = os.environ.get("LDAPTLS_CACERT")
        # The proxy does not run as root and must reach the authority.
        shared = "/tmp/herd-ldap-%d.crt" % os.getpid()
        shutil.copy(d + "/ldap.crt", shared)
        os.chmod(shared, 0o644)
        os.environ["LDAPTLS_CACERT"] = shared
        yield port, tls
    finally:
        p.terminate()
        p.wait(20)
        if os.path.exists("/tmp/herd-ldap-%d.crt" % os.getpid()):
            os.unlink("/tmp/herd-ldap-%d.crt" % os.getpid())
        os.environ.pop("LDAPTLS_CACERT", None)
        if old:
            os.environ["LDAPTLS_CACERT"] = old


def login(px, user="u_plain", password="secret", **kw):
    return px.sql("select current_user", user=user, password=password, **kw) == [(user,)]


def fails(px, match, **kw):
    with pytest.raises(psycopg.OperationalError, match=match):
        login(px, **kw)


def no_password(px):
    """libpq does not even send an empty one."""
    with socket.create_connection(("127.0.0.1", px.port), timeout=20) as s:
        s.sendall(startup(user="u_plain") + b"p\0\0\0\5\0")
        return read_all(s)


def test_ldap(make, ldap, box):
    """Simple bind, search, URL, both kinds of TLS; the client's password opens the server."""
    port, tls = ldap
    search = 'ldapbasedn="dc=example,dc=net"'
    here = f"ldapserver=127.0.0.1 ldapport={port}"
    ways = {
        "simple": f'{here} ldapprefix="uid=" ldapsuffix=",dc=example,dc=net"',
        "search": f"{here} {search}",
        "attribute": f"{here} {search} ldapsearchattribute=uid",
        "filter": f'{here} {search} ldapsearchfilter="(|(uid=$username)(mail=$username))"',
        "bound": f'{here} {search} ldapbinddn="cn=Manager,dc=example,dc=net" ldapbindpasswd=secret',
        "starttls": f"{here} ldaptls=1 {search}",
        "ldaps": f"ldapserver=127.0.0.1 ldapport={tls} ldapscheme=ldaps {search}",
        "url": f'ldapurl="ldap://127.0.0.1:{port}/dc=example,dc=net?uid?sub"',
        "second": f'ldapserver="127.0.0.2 127.0.0.1" ldapport={port} {search}',
    }
    box.write("users.txt", '"admin" ""\n')
    more = f"server_login_retry = 0\nauth_ldap_options = {ways['simple']}\n"
    px = make(auth="ldap", more=more)
    for options in ways.values():
        box.write(px.name + ".ini", open(px.file).read().replace(more.split("\n")[1],
                                                                "auth_ldap_options = " + options))
        more = f"server_login_retry = 0\nauth_ldap_options = {options}\n"
        px.signal(signal.SIGHUP)
        wait_for(lambda: login(px))
        fails(px, "LDAP authentication failed", password="wrong")
        assert b"empty password returned by client" in no_password(px)
        fails(px, "LDAP authentication failed", user="nobody", password="secret")
    assert 'LDAP user "nobody" does not exist' in px.log()
    assert "secret" not in px.log()


def test_ldap_by_hba(make, ldap, box):
    port, _ = ldap
    box.write("hba.conf", "host all u_trust,admin all trust\n"
              f'host all u_plain all ldap ldapurl="ldap://127.0.0.1:{port}/dc=example,dc=net?uid?sub"\n'
              f'host all u_md5 all ldap ldapserver=127.0.0.1 ldapport={port} ldapbasedn='
              '"dc=example,dc=net" ldapsearchfilter="(objectClass=inetOrgPerson)"\n'
              "host all * all ldap ldapserver=127.0.0.1 ldapport=1 ldapprefix=x\n")
    px = make(auth="hba", more="auth_hba_file = @DIR@/hba.conf\n")
    assert login(px)
    # Two entries are none, and a name is no filter.
    fails(px, "LDAP authentication failed", user="u_md5", password="other")
    fails(px, "LDAP authentication failed", user="*", password="secret")
    assert "is not unique" in px.log() and "returned 2 entries." in px.log()
    for bad, why in (("ldapserver=x", "requires argument .*ldapbasedn"),
                     ('ldapbasedn="x"', "requires argument .*ldapserver"),
                     ("ldapserver=x ldapprefix=a ldapbasedn=b", "cannot use ldapbasedn"),
                     ("ldapserver=x ldapbasedn=b ldapsearchattribute=c ldapsearchfilter=d",
                      "together with ldapsearchfilter"),
                     ("ldapurl=http://x/", "LDAP URL"), ("ldapport=high", "invalid value"),
                     ("ldapcolor=blue", "not supported"), ("ldapscheme=x", "ldapscheme")):
        box.write("hba.conf", "host all all all ldap " + bad + "\n")
        with pytest.raises(psycopg.Error, match=why):
            px.console("reload")
    box.write("hba.conf", "host all all all pam\n")
    with pytest.raises(psycopg.Error, match='"pam" is not supported'):
        px.console("reload")


def test_nobody_waits_for_ldap(make, box):
    """A directory that does not answer holds up its own clients, and nobody else."""
    silent = socket.create_server(("127.0.0.1", free_port()), backlog=64)
    port = silent.getsockname()[1]
    box.write("hba.conf", "host all u_trust,admin all trust\nhost all u_plain all ldap "
              f"ldapserver=127.0.0.1 ldapport={port} ldapprefix=x\n")
    px = make(auth="hba", more="auth_hba_file = @DIR@/hba.conf\nclient_login_timeout = 2\n")
    got = []

    def ask():
        try:
            got.append(login(px, connect_timeout=60))
        except psycopg.Error as e:
            got.append(str(e))
    asking = [threading.Thread(target=ask) for _ in range(20)]
    for t in asking:
        t.start()
    wait_for(lambda: len([r for r in px.console("show clients") if r["user"] == "u_plain"]) == 20
             or got)
    assert not got
    assert px.sql("select 1") == [(1,)]
    for t in asking:
        t.join(60)
    assert len(got) == 20 and all("client_login_timeout" in g or "LDAP" in g for g in got)
    assert px.sql("select 1") == [(1,)]
    silent.close()


PAM = "/etc/pam.d/pgbouncer"


@pytest.fixture
def pam(box):
    if os.getuid() or not os.path.isdir("/etc/pam.d") or os.path.exists(PAM):
        pytest.skip("needs root, /etc/pam.d and no service of that name")

    def service(*lines):
        with open(PAM, "w") as f:
            f.write("".join(line + "\n" for line in lines))
    try:
        yield service
    finally:
        if os.path.exists(PAM):
            os.unlink(PAM)


def test_pam(make, pam, box):
    box.write("check", "#!/bin/sh\nread p\n[ \"$PAM_USER:$p\" = u_plain:secret ] || exit 1\n"
              f"echo \"$PAM_SERVICE $PAM_RHOST\" > {box.path('seen')}\n", 0o755)
    box.write("seen", "")
    box.write("users.txt", '"admin" ""\n')
    pam(f"auth required pam_exec.so quiet expose_authtok {box.path('check')}",
        "account required pam_permit.so")
    px = make(auth="pam", more="server_login_retry = 0\n")
    assert login(px)
    assert open(box.path("seen")).read() == "pgbouncer 127.0.0.1\n"
    fails(px, "PAM authentication failed", password="wrong")
    fails(px, "PAM authentication failed", user="u_md5", password="secret")
    assert b"empty password returned by client" in no_password(px)
    pam(f"auth required pam_exec.so quiet expose_authtok {box.path('check')}",
        "account required pam_deny.so")
    fails(px, "PAM authentication failed")
    assert "secret" not in px.log()


def test_files_of_names(make, box):
    os.mkdir(box.path("names"))
    box.write("names/users", 'u_md5, "u_scram"\n# a comment\n@more\n')
    box.write("names/more", "u_trust\n")
    box.write("names/dbs", "db\n")
    box.write("hba.conf", "host @names/dbs @names/users all trust\nhost all admin all trust\n"
              'host all "@names/users" all trust\n')
    px = make(auth="hba", more="auth_hba_file = @DIR@/hba.conf\n")
    for user in ("u_trust", "u_md5", "u_scram"):
        assert px.connect(user=user, password="secret").close() is None
    with pytest.raises(psycopg.OperationalError, match="no authentication method is found"):
        px.sql("select 1", user="u_plain")
    box.write("names/more", "u_plain @more\n")
    with pytest.raises(psycopg.Error, match="inside of each other"):
        px.console("reload")
    box.write("names/more", "u_plain\n")
    px.console("reload")
    assert px.sql("select current_user", user="u_plain") == [("u_plain",)]
    os.unlink(box.path("names/more"))
    with pytest.raises(psycopg.Error, match="names/more"):
        px.console("reload")


def test_maps_with_patterns(make, box):
    me = pwd.getpwuid(os.getuid()).pw_name
    box.write("hba.conf", "local all u_plain peer map=one\nlocal all u_md5 peer map=two\n"
              "local all u_trust peer map=three\nlocal all all peer map=four\n"
              "host all admin all trust\n")
    box.write("ident.conf", f"one /^{me}$ u_plain\ntwo /^(r|x)(.*)$ u_\\1\nthree /. /^u_t\n"
              f"four /^{me[0]}(.*)$ x\\1y\n")
    px = make(auth="hba", more="auth_hba_file = @DIR@/hba.conf\nunix_socket_dir = @DIR@\n"
              "auth_ident_file = @DIR@/ident.conf\n")
    where = {"host": box.path()}
    for user, ok in (("u_plain", True), ("u_md5", False), ("u_trust", True)):
        if ok:
            assert px.sql("select current_user", user=user, **where) == [(user,)]
        else:
            with pytest.raises(psycopg.OperationalError, match="unix socket login rejected"):
                px.sql("select 1", user=user, **where)
    box.write("users.txt", f'"x{me[1:]}y" ""\n"admin" ""\n')
    px.console("reload")
    # Let in by the map; that the server has no such user is another matter.
    with pytest.raises(psycopg.OperationalError, match="does not exist"):
        px.sql("select 1", user=f"x{me[1:]}y", **where)


def test_secrets_of_all_kinds(make, box, server):
    """The auth file holds text, md5 or SCRAM; a reload brings a new one."""
    kinds = dict(server.sql("select rolname, rolpassword from pg_authid where rolname in "
                            "('u_md5', 'u_scram')"))
    box.write("users.txt", f'"u_md5" "{kinds["u_md5"]}"\n"u_scram" "{kinds["u_scram"]}"\n'
              '"u_plain" "secret"\n"admin" ""\n; a comment\n"with ""quote" "x"\n')
    box.write("hba.conf", "host all admin all trust\nhost all u_md5 all md5\n"
              "host all u_scram all md5\nhost all u_plain all password\n")
    px = make(auth="hba", more="auth_hba_file = @DIR@/hba.conf\nscram_iterations = 5000\n")
    for user in ("u_md5", "u_scram", "u_plain"):
        assert login(px, user)
        fails(px, "authentication failed", user=user, password="wrong")
    box.write("users.txt", '"u_plain" "new"\n"admin" ""\n')
    fails(px, "authentication failed", password="new")
    px.console("reload")
    fails(px, "authentication failed", user="u_md5")
    fails(px, "authentication failed", password="secret")


def test_databases(make, box, server):
    px = make(databases=f"asks = host=127.0.0.1 port={server.port} dbname=db auth_user=postgres "
              "auth_dbname=db auth_query='select usename, passwd from pg_shadow where usename = $1 "
              "and usename <> ''u_md5'''\n"
              f"forced = host=127.0.0.1 port={server.port} dbname=db user=u_plain password=secret\n"
              f"* = host=127.0.0.1 port={server.port}", auth="scram-sha-256", mode="session")
    box.write("users.txt", '"postgres" ""\n"admin" "adm"\n"u_trust" "t"\n')
    px.signal(signal.SIGHUP)
    wait_for(lambda: login(px, "u_scram", db="asks"))
    fails(px, "SASL authentication failed", user="u_md5", db="asks")
    assert px.sql("select current_user, session_user", user="u_trust", password="t",
                  db="forced") == [("u_plain", "u_plain")]
    assert px.sql("select current_database()", user="u_trust", password="t",
                  db="postgres") == [("postgres",)]
    with pytest.raises(psycopg.OperationalError, match='database "nowhere" does not exist'):
        px.sql("select 1", user="u_trust", password="t", db="nowhere")
    with px.connect(db="pgbouncer", user="admin", password="adm",
                    cursor_factory=psycopg.ClientCursor) as c:
        c.execute("disable forced")
        with pytest.raises(psycopg.OperationalError, match="disabled"):
            px.sql("select 1", user="u_trust", password="t", db="forced")


def test_a_row_without_a_name_is_none(make, box, server):
    """An auth_query that always has a row, a function say, tells by NULL that there is no such user."""
    px = make(auth="plain", more="auth_user = postgres\n"
              "auth_query = select case when $1 = 'u_plain' then $1 end, 'secret'")
    box.write("users.txt", '"postgres" ""\n"admin" "adm"\n')
    px.signal(signal.SIGHUP)
    wait_for(lambda: login(px, "u_plain"))
    fails(px, "authentication failed", user="u_md5", password="secret")


@pytest.mark.parametrize("auth", ["md5", "plain"])
def test_an_empty_password_is_none(make, box, auth):
    px = make(auth=auth)
    box.write("users.txt", '"admin" "adm"\n"u_trust" ""\n"u_plain" "secret"\n')
    px.signal(signal.SIGHUP)
    wait_for(lambda: login(px, "u_plain"))
    for password in (" ", "x"):
        fails(px, "authentication failed", user="u_trust", password=password)
    got = talk_empty(px, auth)
    assert b"R\0\0\0\x08\0\0\0\0" not in got and b"28P01" in got


def talk_empty(px, auth):
    """libpq does not send an empty password; others do."""
    with socket.create_connection(("127.0.0.1", px.port), timeout=20) as s:
        body = b"\0\3\0\0user\0u_trust\0database\0db\0\0"
        s.sendall(struct.pack("!I", len(body) + 4) + body)
        asked = s.recv(1000)
        answer = b""
        if auth == "md5":
            inner = hashlib.md5(b"u_trust").hexdigest().encode()
            answer = b"md5" + hashlib.md5(inner + asked[-4:]).hexdigest().encode()
        s.sendall(b"p" + struct.pack("!I", len(answer) + 5) + answer + b"\0")
        got = b""
        while chunk := s.recv(1000):
            got += chunk
        return got


def test_the_log_of_those_who_fail(make, box):
    """Lines that PgBouncer has, which tools look for."""
    px = make(auth="scram-sha-256")
    box.write("users.txt", '"admin" "adm"\n"u_md5" "md5%s"\n"u_plain" "secret"\n'
              % hashlib.md5(b"secretu_md5").hexdigest())
    px.signal(signal.SIGHUP)
    wait_for(lambda: login(px, "u_plain"))
    fails(px, "SASL authentication failed", user="stranger", password="x")
    fails(px, "SASL authentication failed", user="u_md5", password="secret")
    fails(px, "not allowed", db="pgbouncer", user="u_plain", password="secret")
    for line in ("no such user: stranger", "SCRAM authentication failed: user has MD5 secret",
                 "login attempt: db=pgbouncer user=u_plain"):
        assert line in px.log()


def raw(px, packet):
    with socket.create_connection(("127.0.0.1", px.port), timeout=20) as s:
        s.sendall(packet)
        return read_all(s)


def test_startup_parameters(make):
    px = make(more="ignore_startup_parameters = extra_float_digits, search_path\n"
              "track_extra_parameters = IntervalStyle, default_transaction_read_only\n")
    with px.connect(options="-c DateStyle=German --IntervalStyle=iso_8601 -c search_path=a\\ b "
                    "-cTimeZone=UTC", application_name="app", client_encoding="LATIN1") as c:
        assert c.execute("show datestyle").fetchone()[0].startswith("German")
        assert c.execute("show intervalstyle").fetchone() == ("iso_8601",)
        assert c.execute("show timezone").fetchone() == ("UTC",)
        assert c.execute("show application_name").fetchone() == ("app",)
        assert c.execute("show client_encoding").fetchone() == ("LATIN1",)
    assert b"Z\0\0\0\x05I" in raw(px, startup(extra_float_digits="2"))
    assert b"unsupported startup parameter: work_mem\0" in raw(px, startup(work_mem="1MB"))
    for options, why in (("-c work_mem=1", b"unsupported startup parameter in options: work_mem\0"),
                         ("-x", b"unsupported options startup parameter: only '-c config=val' and "
                                b"'--config=val' are allowed\0"),
                         ("-c", b"unsupported options startup parameter"),
                         ("-c novalue", b"unsupported options startup parameter"),
                         ("-c=", b"unsupported startup parameter in options: \0"),
                         ("--=x", b"unsupported startup parameter in options: \0")):
        assert why in raw(px, startup(options=options)), options
    assert b"no username supplied\0" in raw(px, startup(user=""))


def test_protocol_versions(make):
    px = make()
    # 3.2 and options of the protocol: what we speak is told, and the login goes on.
    got = raw(px, startup(version=(3 << 16) | 2, **{"_pq_.shiny": "1"}))
    head = got.index(b"v")
    assert struct.unpack("!II", got[head + 5:head + 13])[1] == 1 and b"_pq_.shiny\0" in got
    assert b"Z\0\0\0\x05I" in got
    assert raw(px, startup(version=(3 << 16) | 9999)).startswith(b"v")
    assert b"old V2 protocol not supported" in raw(px, startup(version=2 << 16))
    for old in (1 << 16, 4 << 16):
        assert b"unsupported frontend protocol" in raw(px, startup(version=old))
    for nonsense in (b"\0\0\0\x07abcd", b"\xff\xff\xff\xff\0\3\0\0", b"GET / HTTP/1.1\r\n\r\n"):
        assert b"E" in raw(px, nonsense)[:1]
    # Asking for TLS and GSSAPI that are not there, in any order.
    with socket.create_connection(("127.0.0.1", px.port), timeout=20) as s:
        for ask in (GSS_REQUEST, SSL_REQUEST):
            s.sendall(ask)
            assert s.recv(1) == b"N"
        s.sendall(startup())
        assert read_all(s).endswith(b"Z\0\0\0\x05I")


def test_login_notify_message(make):
    px = make(more="login_notify_message = Welcome to \"the pool\"\n")
    assert b'Welcome to "the pool"\0' in raw(px, startup())
    done = px.psql("select 1")
    assert "Welcome to" in done.stderr and done.stdout == "1\n"


def test_probing_tells_nothing(make, box):
    """The challenge for a stranger is that of a user: same form, same salt every time."""
    px = make(auth="scram-sha-256", more="auth_user = postgres\n")
    box.write("users.txt", '"postgres" ""\n"admin" "x"\n"u_plain" "secret"\n')

    def first(user):
        with socket.create_connection(("127.0.0.1", px.port), timeout=20) as s:
            s.sendall(startup(user=user))
            head = s.recv(1000)
            assert head[:1] == b"R" and b"SCRAM-SHA-256\0" in head
            msg = b"n,,n=,r=abcdefghijklmnop"
            body = b"SCRAM-SHA-256\0" + struct.pack("!I", len(msg)) + msg
            s.sendall(b"p" + struct.pack("!I", len(body) + 4) + body)
            got = s.recv(1000)[9:]
            return dict(p.split(b"=", 1) for p in got.split(b","))
    a, b = first("stranger"), first("stranger")
    assert a[b"s"] == b[b"s"] and a[b"r"] != b[b"r"] and a[b"i"] == b"4096"
    assert first("another")[b"s"] != a[b"s"]
    assert len(first("u_plain")[b"s"]) == len(a[b"s"])


def test_says_what_stands_between(make, server):
    """As PgBouncer 1.26 does: drivers can tell a pooler and what it does with sessions."""
    px = make(more="max_prepared_statements = 17\n", databases="calm = host=127.0.0.1 port="
              f"{server.port} dbname=db pool_mode=session\n")

    def said(**kw):
        with px.connect(**kw) as c:
            return [(c.pgconn.parameter_status(b"pgbouncer." + n) or b"").decode() for n in
                    (b"version", b"pool_mode", b"max_prepared_statements")]

    version, *rest = said()
    assert re.fullmatch(r"1\.[0-9]+\.[0-9]+", version) and rest == ["transaction", "17"]
    assert said(db="calm") == [version, "session", "17"]
    assert said(db="pgbouncer", user="admin", cursor_factory=psycopg.ClientCursor) == [version, "", ""]
