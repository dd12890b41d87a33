"""The ini file read as PgBouncer reads it: what it takes, what it refuses, and what SHOW CONFIG says of it."""
import pytest

from conftest import PGHERD, Box, Proxy, run, users

MAIN = """[pgbouncer]
listen_addr = 127.0.0.1
listen_port = @PORT@
unix_socket_dir =
auth_type = trust
auth_file = @DIR@/users.txt
admin_users = admin
"""


@pytest.fixture(scope="module")
def place():
    box = Box()
    users(box)
    try:
        yield box
    finally:
        box.close()


@pytest.fixture
def make(place):
    made = []

    def fn(main="", head="", tail=""):
        made.append(Proxy(place, f"{head}\n{MAIN}{main}\n{tail}\n", name="ini"))
        return made[-1]

    yield fn
    for p in made:
        p.kill()


def config(px):
    return {r["key"]: r["value"] for r in px.console("show config")}


def defaults(px):
    return {r["key"]: r["default"] for r in px.console("show config")}


def refusal(place, text):
    done = run(PGHERD, "proxy", place.write("bad.ini", text.replace("@DIR@", place.dir)), check=False)
    assert done.returncode == 1
    return done.stderr


@pytest.mark.parametrize("text,why", [
    ("[foo]\n", "bad.ini:1: unknown section \"foo\""),
    ("[ pgbouncer ]\n", "unknown section \" pgbouncer \""),
    ("[PgBouncer]\n", "unknown section"),
    ("[]\n", "unknown section \"\""),
    ("[pgbouncer\n", "has no end"),
    ("verbose = 1\n[pgbouncer]\n", "before the first section"),
    ("", "has no section"),
    ("[databases]\na = host=x\n", "has no section"),
    ("[databases] ; here\na = host=x foo=1\n", "bad.ini:2: unrecognized connection parameter: foo"),
    ("[databases]\n\"a = host=x\n", "neither a section nor"),
    ("[databases]\n\"a\" b = host=x\n", "neither a section nor"),
    ("[databases]\n\"\" = host=x\n", "neither a section nor"),
    ("[databases]\n\"pgbouncer\" = host=x\n", "reserved"),
    ("[databases]\na = host='x'port=1\n", "no blank behind it"),
    ("[databases]\na = host=''\n", "value of \"host\" is empty"),
    ("[databases]\na = host=x port=\n", "value of \"port\" is empty"),
    ("[databases]\na = host=x port=0\n", "invalid value \"0\" for \"port\""),
    ("[databases]\na = host=x port=70000\n", "invalid value \"70000\""),
    ("[databases]\na = host=x pool_size=0x10\n", "invalid value \"0x10\""),
    ("[peers]\n1 = host=x port=70000\n", "invalid value \"70000\""),
    ("[pgbouncer]\ndefault_pool_size = -1\n", "invalid value \"-1\""),
    ("[pgbouncer]\ndefault_pool_size = 09\n", "invalid value \"09\""),
    ("[pgbouncer]\ndefault_pool_size = 1.5\n", "invalid value \"1.5\""),
    ("[pgbouncer]\nlog_stats = x\n", "invalid value \"x\""),
    ("[pgbouncer]\nlog_stats =\n", "invalid value \"\""),
    ("[pgbouncer]\nauth_type = cert\n", "needs client_tls_sslmode verify-full"),
    ("[pgbouncer]\nlisten_addr = 127.0.0.1\nuser = nobody-has-this-name\n", "could not find user"),
    ("[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = 0\nuser = daemon\n", "nowhere to listen"),
])
def test_refused(place, text, why):
    assert why in refusal(place, text)


@pytest.mark.parametrize("where", ["someone:secret@127.0.0.1:8008", "https://someone:secret@127.0.0.1:8008"])
def test_password_in_an_address(place, where):
    told = refusal(place, f"[pgherd]\nrest = {where}\n[databases]\na = cluster=c\n"
                   "[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = 7654\nuser = postgres\nunix_socket_dir =\n")
    assert "takes host:port or group@host:port" in told and "secret" not in told


def test_another_user(place, make):
    px = make("user = postgres")
    px.kill()
    done = run(PGHERD, "proxy", "-u", "daemon", px.file, check=False)
    assert done.returncode == 1 and "could not become user \"daemon\"" in done.stderr


def test_values_are_shown_as_understood(make):
    px = make("default_pool_size = 010\nmin_pool_size = 0x10\nreserve_pool_size = +5\n"
              "log_stats = 2\nlog_pooler_errors = -1\nlog_connections = 0x0\nlog_disconnections = off\n"
              "query_timeout = 1e3\ntransaction_timeout = .5\nclient_idle_timeout = 1.2345678\n"
              "pool_mode = TRANSACTION\nserver_tls_sslmode = DISABLE\nunix_socket_mode = 700")
    got = config(px)
    for key, value in {"default_pool_size": "8", "min_pool_size": "16", "reserve_pool_size": "5",
                       "log_stats": "1", "log_pooler_errors": "1", "log_connections": "0",
                       "log_disconnections": "0", "query_timeout": "1000", "transaction_timeout": "0.5",
                       "client_idle_timeout": "1.234568", "pool_mode": "transaction",
                       "server_tls_sslmode": "disable", "unix_socket_mode": "0700", "verbose": "0",
                       "auth_ldap_options": None, "client_tls13_ciphers": None,
                       "server_tls13_ciphers": None, "auth_type": "trust"}.items():
        assert got[key] == value, key
    assert [defaults(px)[k] for k in ("verbose", "auth_ldap_options", "client_tls13_ciphers",
                                      "conffile", "query_timeout")] == [None, None, None, None, "0"]
    # What is shown may be written back.
    for key in ("query_timeout", "pool_mode", "client_idle_timeout", "log_stats"):
        px.console(f"set {key} = '{got[key]}'")
    assert config(px) == got
    # The same value in other words takes no restart.
    with open(px.file) as f:
        text = f.read()
    px.write(text.replace("unix_socket_mode = 700", "unix_socket_mode = 0700"))
    px.console("reload")
    assert "restart only" not in px.log()


def test_databases_and_users(make):
    px = make("admin_users = admin", tail="[users]\nu = pool_size=3 max_user_connections=4\n"
              "u = max_user_connections=-1 reserve_pool_size=2\n\"x y\" = pool_size=1",
              head="[databases] ; ours\na = host=127.0.0.1 pool_size=-1 server_lifetime=-1 "
                   "max_db_connections=-5 user=forced auth_user=asker\n\"my \"\"db\" = host=127.0.0.1 port=7")
    dbs = {r["name"]: r for r in px.console("show databases")}
    assert (dbs["a"]["pool_size"], dbs["a"]["server_lifetime"], dbs["a"]["max_connections"]) == (20, 3600, 0)
    assert dbs['my "db']["port"] == 7
    shown = {r["name"]: r for r in px.console("show users")}
    # A second line takes the first one's place.
    assert (shown["u"]["pool_size"], shown["u"]["reserve_pool_size"], shown["u"]["max_user_connections"]) == ("", "2", 0)
    assert shown["x y"]["pool_size"] == "1" and {"forced", "asker"} <= shown.keys()


def test_conffile(place, make):
    px = make("default_pool_size = 3")
    with open(px.file) as f:
        text = f.read()
    other = place.write("other.ini", text.replace("default_pool_size = 3", "default_pool_size = 4"))
    # It counts from the next RELOAD on.
    px.console(f"set conffile = '{other}'")
    px.console("set verbose = 0")
    assert (config(px)["conffile"], config(px)["default_pool_size"]) == (other, "3")
    px.console("reload")
    assert (config(px)["conffile"], config(px)["default_pool_size"]) == (other, "4")
    px.console("set conffile = '/nonexistent'")
    with pytest.raises(Exception, match="could not open file \"/nonexistent\""):
        px.console("reload")
    assert config(px)["default_pool_size"] == "4"
    px.console(f"set conffile = '{px.file}'")
    px.console("reload")
    assert config(px)["default_pool_size"] == "3"


@pytest.mark.parametrize("command", ["shutdown foo", "shutdown wait_for_servers now", "set", "set verbose",
                                     "set verbose =", "reload all", "pause a b", "suspend now"])
def test_no_such_commands(make, command):
    px = make()
    with pytest.raises(Exception, match="invalid command '" + command):
        px.console(command)


def test_drivers_settings(make):
    px = make()
    for command in ("set extra_float_digits = 3", "SET extra_float_digits TO 2", "set datestyle to iso",
                    "set application_name = 'x'"):
        px.console(command)
