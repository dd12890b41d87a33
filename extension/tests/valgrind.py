#!/usr/bin/python3
"""Runs a command against servers under valgrind, and tells what valgrind found.

    extension/tests/valgrind.py [--build DIR] [--leaks] [COMMAND ...]

The command is a test that makes its servers with cluster.py; without one it is the soak's
statements, each kind some times (router, pushdown, repartition, writes, COPY, MERGE, transactions,
cursors, triggers, EXPLAIN, DDL, errors, cancels, lost connections):

    tests/soak/ext_soak.py --each 3 --pg PG_CONFIG

PostgreSQL is built in DIR (/tmp/pg-valgrind) by tests/lib/assert-pg, with assertions and with what
valgrind has to know of its memory contexts; the extension is built from this tree and installed
there. PG_CONFIG in the command stands for its pg_config, which PGHERD_TEST_PG_CONFIG has as well:

    extension/tests/valgrind.py /usr/bin/python3 -m pytest tests/it/ext/test_router.py

With --leaks it also searches each process that ends for memory that nothing points to any more,
allocated by malloc or in a memory context that lives on, by a function of the extension.

Fails when the command fails or valgrind complains of anything.
"""
import argparse
import glob
import os
import pwd
import re
import subprocess
import sys
import tempfile

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def prepare(build, logs):
    config = subprocess.check_output([TOP + "/tests/lib/assert-pg", build], text=True).strip()
    with tempfile.TemporaryDirectory() as copy:
        subprocess.check_call(["cp", "-r", TOP + "/extension", copy])
        subprocess.check_call(["make", "-s", "-C", copy + "/extension", "PG_CONFIG=" + config,
                               "clean", "install"])
    source = subprocess.check_output([TOP + "/tests/peer/debian-source.sh", "postgresql-15",
                                      "bookworm", build + "/src"], text=True).strip()
    subprocess.check_call(["cp", source + "/src/tools/valgrind.supp", logs])
    os.chmod(logs, 0o755)
    if os.geteuid() == 0:
        os.chown(logs, pwd.getpwnam("postgres").pw_uid, -1)
    return config


def complaints(logs):
    """Distinct ones, by the functions on top of their stacks, with one example and a count."""
    found = {}
    for path in glob.glob(logs + "/*.log"):
        with open(path, errors="replace") as f:
            text = re.sub(r"(?m)^==\d+== ?", "", f.read())
        for block in re.split(r"\n\s*\n", text):
            if "   at 0x" not in block:
                continue
            stack = re.findall(r"(?:at|by) 0x[0-9A-F]+: (\S+)", block)
            if " lost in loss record " in block:
                stack = [f for f in stack if f.startswith("herd_") or "pgherd" in f]
                if not stack:  # PostgreSQL's own
                    continue
            found.setdefault(tuple(stack[:6]), []).append(block)
    return sorted(found.values(), key=len, reverse=True)


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    ap.add_argument("--build", default="/tmp/pg-valgrind")
    ap.add_argument("--leaks", action="store_true")
    ap.add_argument("command", nargs=argparse.REMAINDER)
    a = ap.parse_args()
    logs = tempfile.mkdtemp(prefix="herd-valgrind-")
    config = prepare(a.build, logs)
    command = a.command or [TOP + "/tests/soak/ext_soak.py", "--each", "3", "--pg", "PG_CONFIG"]
    command = [config if x == "PG_CONFIG" else x for x in command]
    env = dict(os.environ, HERD_VALGRIND=logs, PGHERD_TEST_PG_CONFIG=config)
    if a.leaks:
        env["HERD_VALGRIND_LEAKS"] = "1"
    code = subprocess.call(command, env=env)
    found = complaints(logs)
    for same in found:
        print("-- %d times:\n%s\n" % (len(same), same[0]))
    print("%d kinds of complaints, in %s" % (len(found), logs))
    sys.exit(code or bool(found))


if __name__ == "__main__":
    main()
