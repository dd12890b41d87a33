"""Members that are a stock Patroni, for herds that mix them with ours (see tests/peer/stock-patroni.sh).

    stock = Stock("bookworm")
    with Herd(2, dcs=PATIENT) as herd:
        herd.members.append(stock.member(herd, "p1").start())
        stock.ctl(herd, "list")
"""

import functools
import json
import os
import pathlib
import shutil
import signal
import subprocess

from herd import BIN_DIR, PGHERD, ROOT, Member, own

# What a stock Patroni raises smaller values to.
PATIENT = {"ttl": 20, "loop_wait": 1, "retry_timeout": 3}


@functools.lru_cache
def tree(suite):
    """The folder with the package patroni."""
    return pathlib.Path(subprocess.run([ROOT / "tests/peer/stock-patroni.sh", suite], check=True,
                                       text=True, stdout=subprocess.PIPE).stdout.strip())


class StockMember(Member):
    """Started and stopped as ours are; the agent is Patroni."""

    stock = None

    def start(self):
        self.dir.mkdir(exist_ok=True)
        path = self.dir / "config.yml"
        path.write_text(json.dumps(self.config(), indent=1))
        own(self.dir)
        self.process = subprocess.Popen(
            [*as_postgres(), "/usr/bin/python3", "-m", "patroni", str(path)],
            env=self.stock.env(self.herd), stdout=open(self.log, "ab"), stderr=subprocess.STDOUT,
            cwd=self.dir)
        return self


class Stock:
    def __init__(self, suite):
        self.suite = suite
        self.source = tree(suite)
        exec((self.source / "patroni/version.py").read_text(), self.__dict__)
        self.version = tuple(int(x) for x in self.__version__.split("."))

    def env(self, herd):
        """A copy that user postgres can read lies below the herd's directory."""
        copy = herd.dir / f"patroni-{self.suite}"
        if not copy.exists():
            shutil.copytree(self.source / "patroni", copy / "patroni")
        return dict(os.environ, PYTHONPATH=str(copy), PYTHONDONTWRITEBYTECODE="1",
                    HOME=str(herd.dir), LC_ALL="C.UTF-8", **herd.env)

    def member(self, herd, name, of=None):
        """A member of that name; of: the one of ours whose data and ports it takes over."""
        m = StockMember(herd, name, of.group if of else None)
        m.stock = self
        if of:
            m.port, m.rest = of.port, of.rest
        return m

    def ctl(self, herd, *args, check=True, stdin=None, config=None):
        """Runs its patronictl; the text of both outputs."""
        config = config or next(m for m in herd.members if m.process).dir / "config.yml"
        r = subprocess.run(
            ["/usr/bin/python3", "-c", "from patroni.ctl import ctl; ctl()", "-c", str(config),
             *args], env=dict(self.env(herd), COLUMNS="300"), text=True, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, input=stdin, timeout=120)
        assert not check or r.returncode == 0, (args, r.returncode, r.stdout)
        return r.stdout


def our_ctl(herd, *args, check=True, stdin=None):
    config = next(m for m in herd.members if m.process).dir / "config.yml"
    r = subprocess.run([PGHERD, "ctl", "-c", str(config), *args], text=True, input=stdin,
                       stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=120)
    assert not check or r.returncode == 0, (args, r.returncode, r.stdout)
    return r.stdout


def swap(herd, old, new):
    """new takes old's place in the herd: same name, ports and data, another agent."""
    old.process.send_signal(signal.SIGTERM)
    old.process.wait(60)
    old.process = None
    herd.members[herd.members.index(old)] = new
    return new.start()


# Like Debian's pg_createcluster: the configuration is not in the data directory.
CREATE = """#!/bin/bash
set -e
for a in "$@"; do
	case "$a" in --datadir=*) data=${a#*=} ;; --etc=*) etc=${a#*=} ;; --connstring=*) from=${a#*=} ;; esac
done
bin=%s
mkdir -p "$etc"
if [ -n "$from" ]; then
	"$bin/pg_basebackup" -D "$data" -X stream -c fast -d "$from"
else
	"$bin/initdb" -D "$data" -U postgres -A trust >/dev/null
fi
for f in postgresql.conf pg_hba.conf pg_ident.conf; do
	[ -e "$etc/$f" ] && rm -f "$data/$f"
	[ -e "$data/$f" ] && mv "$data/$f" "$etc/"
	[ -e "$etc/$f" ] || : >"$etc/$f"
done
if ! [ -e "$etc/postgresql.base.conf" ]; then
	printf "%%s = '%%s'\\n" data_directory "$data" hba_file "$etc/pg_hba.conf" \\
		ident_file "$etc/pg_ident.conf" >>"$etc/postgresql.conf"
fi
"""


def debian_layout(member):
    """Gives a member a configuration as Debian's package writes it."""
    plain = member.config

    def config():
        c = plain()
        pg, script = c["postgresql"], member.herd.dir / "create"
        if not script.exists():
            script.write_text(CREATE % BIN_DIR)
            script.chmod(0o755)
        method = {"command": f"{script} --etc={member.dir}/etc"}
        c["bootstrap"] = {"method": "make", "make": method, "dcs": {
            **c["bootstrap"]["dcs"],
            "postgresql": {"use_pg_rewind": True, "parameters": None, "pg_hba": [
                "local all all trust", "local replication all trust",
                "host all all 127.0.0.1/32 trust", "host replication all 127.0.0.1/32 trust"]}}}
        del pg["pg_hba"]
        del pg["authentication"]["rewind"]
        pg.update(create_replica_method=["make"], make=method, use_unix_socket=True,
                  config_dir=f"{member.dir}/etc")
        return c
    member.config = config
    return member


def as_postgres():
    if os.geteuid():
        return []
    return ["setpriv", "--reuid", "postgres", "--regid", "postgres", "--init-groups"]
