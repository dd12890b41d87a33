#!/usr/bin/python3
"""PostgreSQL's own regression scripts on a plain server and on a herd that distributes their tables.

    pgregress.py SOURCE [--only FILE,..] [--update] [--keep DIR] [--pg-config FILE]

SOURCE is PostgreSQL's source tree. An event trigger on the herd's coordinator makes every new table a
distributed one: by its primary key's first column, or another unique one's, or the first column that can be
hashed; a table that cannot be one stays as it is. Scripts run by psql on both, in the order of their schedule.
Output is compared statement by statement, without regard to the order of rows; EXPLAIN is not counted, and
errors count by their text. A file must reach the share that pgregress-floor.txt has for it, or it fails; so
does a server that went down. Closes with "N passed, N failed, N skipped", a file being one.
"""
import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(TOP, "extension", "tests"))
import cluster  # noqa: E402

FLOOR = os.path.join(HERE, "pgregress-floor.txt")
# in the order of the schedule; left out: those that look at catalogs, storage, plans or C functions only
FILES = """test_setup boolean char name varchar text int2 int4 int8 float4 float8 bit numeric uuid enum money rangetypes
	strings point date time timestamp timestamptz interval inet macaddr multirangetypes copy copyselect copydml insert
	insert_conflict create_misc create_type create_index create_view create_aggregate constraints triggers select inherit
	typed_table updatable_views drop_if_exists errors select_into select_distinct select_distinct_on select_implicit
	select_having subselect union case join aggregates transactions random portals arrays btree_index hash_index update
	delete namespace prepared_xacts gin gist privileges matview lock rowsecurity tablesample groupingsets identity generated
	join_hash create_table_like merge tsrf incremental_sort rules portals_p2 select_views foreign_key cluster combocid tsearch
	window json jsonb jsonb_jsonpath plancache limit plpgsql copy2 temp domain rangefuncs prepare truncate alter_table sequence
	polymorphism rowtypes returning with partition_join partition_prune hash_part partition_aggregate tuplesort
	fast_default""".split()
TRIGGER = """
create function public.herd_distribute() returns event_trigger language plpgsql set client_min_messages = error as $$
declare
	made record;
	key name;
begin
	if current_setting('herd.busy', true) = 'on' then return; end if;
	perform set_config('herd.busy', 'on', false);
	for made in select c.oid from pg_event_trigger_ddl_commands() d join pg_class c on c.oid = d.objid
		where d.classid = 'pg_class'::regclass and c.relkind in ('r', 'p') and c.relpersistence = 'p' and not c.relispartition
			and not exists (select from pg_inherits where inhrelid = c.oid) and c.reloftype = 0
			and not exists (select from pg_dist_partition where logicalrelid = c.oid)
	loop
		select a.attname into key from pg_attribute a left join pg_index i on i.indrelid = a.attrelid and i.indisunique
				and i.indkey[0] = a.attnum
			where a.attrelid = made.oid and a.attnum > 0 and not a.attisdropped and a.attgenerated = '' and exists (
				select from pg_opclass o join pg_am m on m.oid = o.opcmethod where m.amname = 'hash' and o.opcdefault
					and o.opcintype = a.atttypid)
			order by i.indisprimary is true desc, i.indisunique is true desc, a.attnum limit 1;
		begin
			if key is not null then
				perform create_distributed_table(made.oid, key, shard_count => 4);
			end if;
		exception when others then null;
		end;
	end loop;
	perform set_config('herd.busy', 'off', false);
exception when others then perform set_config('herd.busy', 'off', false);
end $$;
create event trigger herd_distribute on ddl_command_end when tag in ('CREATE TABLE', 'CREATE TABLE AS', 'SELECT INTO')
	execute function public.herd_distribute();
"""
DATABASE = "regression"


class Servers(cluster.Cluster):
    """A herd of three nodes, and a plain server as its last."""

    def start(self):
        super().start()
        n = self.add_server()  # without the extension in its database
        self.plain = n
        for node in range(n + 1):
            self.psql(node, "create database %s template template0" % DATABASE)
            self.psql(node, "alter database %s set bytea_output = 'hex'; alter database %s set "
                      "extra_float_digits = 0" % (DATABASE, DATABASE))
            self.psql(node, "alter database %s set lc_messages = 'C'" % DATABASE)
        for node in range(n):
            self.psql(node, "create extension pgherd", db=DATABASE)
        self.psql(0, "select citus_set_coordinator_host('127.0.0.1', %d)" % self.ports[0], db=DATABASE)
        for port in self.ports[1:n]:
            self.psql(0, "select citus_add_node('127.0.0.1', %d)" % port, db=DATABASE)
        self.psql(0, TRIGGER, db=DATABASE)
        return self

    def script(self, node, path, source):
        """What psql prints; started, to be waited for."""
        env = dict(os.environ, PGTZ="PST8PDT", PGDATESTYLE="Postgres, MDY", PG_ABS_SRCDIR=source, PG_LIBDIR=source,
                   PG_DLSUFFIX=".so", PG_ABS_BUILDDIR=source, LC_ALL="C.UTF-8", PGHOST="127.0.0.1", PGUSER="postgres",
                   PGPORT=str(self.ports[node]), PGDATABASE=DATABASE,
                   PGOPTIONS="-c intervalstyle=postgres_verbose -c statement_timeout=5s -c search_path=public")
        argv = [self.bin + "/psql", "-X", "-a", "-q", "-v", "HIDE_TABLEAM=on", "-v", "HIDE_TOAST_COMPRESSION=on",
                "-v", "VERBOSITY=terse"]
        if os.geteuid() == 0:
            argv = ["setpriv", "--reuid", "postgres", "--regid", "postgres", "--clear-groups"] + argv
        with open(path) as f:
            # VERBOSITY of the script itself would bring the names of nodes
            text = re.sub(r"\\set VERBOSITY \w+", r"\\set VERBOSITY terse", f.read())
        out = open(path + ".%s.out" % ("plain" if node == self.plain else "herd"), "w+", errors="replace")
        p = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=out, stderr=subprocess.STDOUT, env=env, text=True,
                             cwd=source)
        return p, text, out

    def wait(self):
        """A server that went down takes connections again."""
        for n in range(len(self.ports)):
            for _ in range(60):
                try:
                    self.psql(n, "select 1")
                    break
                except RuntimeError:
                    time.sleep(0.5)

    def crashed(self):
        """Lines of the logs about servers that went down; told once."""
        found = []
        for n in range(len(self.ports)):
            with open(self.data(n) + ".log", errors="replace") as f:
                f.seek(self.seen.get(n, 0))
                found += ["node %d: %s" % (n, line.strip()) for line in f if "was terminated by signal" in line or
                          "TRAP:" in line]
                self.seen[n] = f.tell()
        return found

    seen = {}


def pieces(text, script):
    """The output cut behind each line of the script that ends a statement."""
    lines, at, result = text.split("\n"), 0, []
    for anchor in (x for x in script.split("\n") if x.rstrip().endswith(";")):
        try:
            end = lines.index(anchor, at)
        except ValueError:
            continue
        result.append((anchor, lines[at:end]))
        at = end + 1
    result.append(("", lines[at:]))
    # what stands in front of an anchor is the answer to the one before, and the rest of the statement
    return [(result[i][0], result[i + 1][1]) for i in range(len(result) - 1)]


def compare(plain, herd, script):
    """Equal and counted statements, and those that differ as text."""
    equal, counted, different = 0, 0, []
    theirs, mine = pieces(plain, script), pieces(herd, script)
    if len(theirs) != len(mine):
        different.append("(%d statements, plain %d)" % (len(mine), len(theirs)))
    for (anchor, want), (_, got) in zip(theirs, mine):
        if any("QUERY PLAN" in line for line in want):
            continue
        counted += 1
        if sorted(want) == sorted(got):
            equal += 1
        else:
            different.append("%s\n%s" % (anchor, "\n".join(["  < " + x for x in want if x not in got][:12] +
                                                          ["  > " + x for x in got if x not in want][:12])))
    return equal, counted, different


def floors():
    with open(FLOOR) as f:
        return {x.split()[0]: float(x.split()[1]) for x in f if x.strip() and not x.startswith("#")}


def feed(runs):
    """Both scripts at a time."""
    import threading
    threads = [threading.Thread(target=p.communicate, args=(text,)) for p, text, _ in runs]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    result = []
    for _, _, out in runs:
        out.seek(0)
        result.append(out.read())
        out.close()
    return result


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    ap.add_argument("source")
    ap.add_argument("--only", help="these and test_setup")
    ap.add_argument("--update", action="store_true", help="write the floor anew, a little below what is reached")
    ap.add_argument("--keep", help="a folder for the outputs and differences")
    ap.add_argument("--pg-config")
    a = ap.parse_args()
    work = tempfile.mkdtemp(prefix="pgherd-regress-")
    os.chmod(work, 0o755)
    source = shutil.copytree(os.path.join(a.source, "src/test/regress"), os.path.join(work, "regress"))
    os.makedirs(source + "/results", exist_ok=True)
    if os.geteuid() == 0:
        subprocess.check_call(["chown", "-R", "postgres", work])
    servers = Servers(workers=2, pg_config=a.pg_config or os.environ.get("PGHERD_TEST_PG_CONFIG"))
    try:
        servers.start()
        return run(servers, source, a)
    finally:
        servers.stop()
        if a.keep:
            os.makedirs(a.keep, exist_ok=True)
            subprocess.call("cp %s/sql/*.out %s/" % (source, a.keep), shell=True)
        shutil.rmtree(work, ignore_errors=True)


def run(servers, source, a):
    wanted = FILES if not a.only else ["test_setup"] + [f for f in a.only.split(",") if f != "test_setup"]
    floor, reached, failed = floors(), {}, 0
    total = [0, 0]
    for name in wanted:
        path = "%s/sql/%s.sql" % (source, name)
        if not os.path.exists(path):
            continue
        began = time.monotonic()
        runs = [servers.script(n, path, source) for n in (servers.plain, 0)]
        plain, herd = feed(runs)
        equal, counted, different = compare(plain, herd, runs[0][1])
        share = 100.0 * equal / max(counted, 1)
        reached[name] = max(0, 100.0 * (equal - 2) / max(counted, 1) - 1)  # some answers depend on the moment
        total[0] += equal
        total[1] += counted
        down = servers.crashed()
        if down:
            servers.wait()
        bad = down or share < floor.get(name, 0)
        failed += bool(bad)
        print("%-20s %5d of %5d  %5.1f %%  %4.1f s%s" % (name, equal, counted, share, time.monotonic() - began,
                                                        "  FAILED: floor %.1f" % floor.get(name, 0) if bad else ""), flush=True)
        for line in down:
            print("    " + line, flush=True)
        if a.keep:
            os.makedirs(a.keep, exist_ok=True)
            with open("%s/%s.diff" % (a.keep, name), "w") as f:
                f.write("\n\n".join(different))
    distributed = servers.psql(0, "select count(*) from pg_dist_partition", db=DATABASE)
    print("equal: %d of %d statements, %.1f %%; %s tables distributed at the end" % (
        total[0], total[1], 100.0 * total[0] / max(total[1], 1), distributed))
    if a.update:
        with open(FLOOR, "w") as f:
            f.write("# Share of statements (percent) with the answer of plain PostgreSQL; pgregress.py --update writes it.\n")
            f.writelines("%s %.1f\n" % (n, s) for n, s in {**floor, **reached}.items())
    print("%d passed, %d failed, 0 skipped" % (len(reached) - failed, failed))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
