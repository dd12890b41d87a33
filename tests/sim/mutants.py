#!/usr/bin/python3
"""Breaks one rule of src/core after the other and shows that the simulator notices.

    tests/sim/mutants.py [--seeds N] [-j N] [NAME...]

For each mutant: the seed at which a check fails first, or "lives" when all N seeds (default 2000)
pass. Exit status 1 when one lives that is not expected to. Compiles with cc into a directory of its
own; nothing in the tree is changed.
"""
import argparse
import glob
import os
import re
import subprocess
import sys
import tempfile

# name: file of src/core, what stands there, what is put in its place.
MUTANTS = {
    # The lease, and what has to end when it does.
    "lease-no-expiry": ("lease.c", "\tif (!herd_failsafe_lost(s) && o->now_ms < t->fast_ms)\n\t\treturn false;",
                        "\treturn false;"),
    "lease-all-late": ("lease.c", "ttl_ms * 8 / 12", "ttl_ms * 15 / 12",
                       "ttl_ms * 9 / 12", "ttl_ms * 16 / 12", "ttl_ms * 10 / 12", "ttl_ms * 17 / 12"),
    "guard-late": ("lease.c", "ttl_ms * 10 / 12", "ttl_ms * 13 / 12"),
    "guard-never": ("step.c", "p->guard_ms = s->right.guard_ms;", "p->guard_ms = 0;"),
    "lease-other-leads": ("lease.c", "\tif (cl->leader) {\n\t\tstop_now(s);", "\tif (cl->leader) {"),
    "key-released-early": ("switchover.c",
                           "if (o->pg.control == HERD_CONTROL_SHUT_DOWN && o->pg.run != HERD_RUN_RUNNING) {",
                           "if (o->pg.run != HERD_RUN_RUNNING) {",
                           "if (o->pg.run == HERD_RUN_RUNNING || o->pg.control != HERD_CONTROL_SHUT_DOWN)",
                           "if (o->pg.run == HERD_RUN_RUNNING)"),
    "handover-unconfirmed": ("switchover.c", "a->lsn > o->pg.checkpoint_lsn", "true"),
    # The election.
    "race-primary-alive": ("election.c", "\t\tif (!a->in_recovery)\n\t\t\treturn", "\t\tif (false)\n\t\t\treturn"),
    "race-behind": ("election.c", "if (ahead(s, a) && ", "if (false && "),
    "race-not-entitled": ("leader.c", "\tif (!same)\n\t\treturn false;", "\tif (!same || same)\n\t\treturn true;"),
    "race-lag": ("election.c", "lag > (uint64_t)s->cfg->maximum_lag_on_failover", "lag > UINT64_MAX / 2"),
    "race-off-the-line": ("election.c", "return herd_obs_lsn(s->o) > h->line[i].lsn;", "return false;"),
    "race-handover-to-anybody": ("election.c", "herd_str_eq(h->to, s->o->name)", "h->to"),
    "race-old-handover": ("election.c", "h->phase == HERD_HANDOVER_DONE", "h->phase >= 0"),
    "race-votes-for-nothing": ("election.c", "return votes >= sync->quorum;\n}\n\n/*", "return true;\n}\n\n/*"),
    "race-no-voter": ("election.c", "int votes = voter ? 0 : -1;", "int votes = 0;"),
    "race-sync-anybody": ("election.c", "\tif (sync->quorum == 0)\n\t\treturn voter;",
                          "\tif (sync->quorum == 0)\n\t\treturn true;"),
    "race-priority-blocks": ("election.c", " && could_win(s, a))", ")"),
    # Synchronous replication.
    "sync-unclaimed": ("leader.c", "\therd_sync_put(s, &claim);\n\treturn true;", "\treturn false;"),
    "sync-unconfirmed": ("sync.c", "n += r && r->streaming && r->sync && confirmed_lsn(s, r) >= s->c->ssn_lsn;",
                         "n += r != NULL;"),
    "sync-no-settling": ("sync.c", "enum { SETTLE_MS = 1000 };", "enum { SETTLE_MS = 0 };"),
    "sync-shrinks-late": ("sync.c", "if (common.n < sync->standby.n)", "if (false)"),
    "sync-write-under-way": ("sync.c", "return s->c->sync_put && ", "return false && "),
    "sync-order-believed": ("sync.c", "return s->c->ssn_ordered && ", "return false && "),
    "quorum-grows-without-votes": ("quorum.c", "q = sync->quorum + (int)(voters.n - sync->standby.n);",
                                   "q = sync->quorum;", "q = (int)n_union(&voters, want) - n_new;", ";",
                                   "q = (int)n_union(&voters, &now.names) - n_now;", ";"),
    "quorum-shrinks-unconfirmed": ("quorum.c", "if (herd_sync_confirmed(s, want) >= n_new)", "if (true)"),
    "quorum-nobody-first": ("quorum.c", "if (sync->standby.n > 0 || sync->quorum > 0)", "if (false)"),
    # Following, copying, slots.
    "rewind-never": ("rewind.c", "if (!fork_point(p, tl, &fork))\n\t\treturn HERD_JUDGE_DIVERGED;",
                     "return HERD_JUDGE_GOOD;"),
    "rewind-torn-started": ("rewind.c", "\tif (o->pg.torn) {", "\tif (false) {"),
    "reinit-without-source": ("bootstrap.c", "o->pg.data == HERD_DATA_VALID && !source_is_there(s)", "false"),
    "bootstrap-nofailover": ("bootstrap.c", "herd_tags_failover_priority(&o->self->tags) <= 0", "false"),
    "slots-forgotten": ("publish.c", "\therd_slots_inherit(s);\n", ""),
    "slots-all-dropped": ("slots.c", "else if (!want && !ignored(s, slot))", "else if (!ignored(s, slot))"),
    "slots-ignore-ignored": ("slots.c", "else if (!want && !ignored(s, slot))", "else if (!want)"),
    # failsafe_mode.
    "failsafe-refused": ("failsafe.c", "if (!f->accepted || ", "if ("),
    "failsafe-counts-from-answer": ("failsafe.c", "c->fs_ok_ms = c->fs_sent_ms;", "c->fs_ok_ms = s->o->now_ms + 2000;"),
    "failsafe-no-promise": ("failsafe.c", "\ts->promised =\n\t\tf->leader && ", "\ts->promised =\n\t\tfalse && f->leader && "),
}

# Not a fault of safety or liveness, or beyond what a simulated herd shows; why:
EXPECTED = {
    "race-primary-alive": "only a store that lost its leases has a primary beside a free key, and then nothing is promised",
}

# Where another rule would catch it first, that one is taken away as well.
ARGUMENTS = {
    "lease-other-leads": ["--no-guard"],
}

SOURCE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
FLAGS = ["-std=gnu11", "-O1", "-D_GNU_SOURCE", '-DPGHERD_VERSION="mutant"', "-I" + SOURCE + "/src", "-I" + SOURCE, "-w"]
LIBS = ["-ljansson", "-lyaml", "-lcrypto", "-lssl", "-lpthread"]
MAIN = '#include "sim/sim.h"\nint main(int argc, char **argv)\n{\n\treturn herd_sim_main(argc, argv);\n}\n'


def compile_to(source, target):
    subprocess.run(["cc", *FLAGS, "-c", source, "-o", target], check=True)


def build_base(work):
    objects = {}
    jobs = []
    for folder in ("base", "model", "core", "sim"):
        for source in sorted(glob.glob(f"{SOURCE}/src/{folder}/*.c")):
            target = f"{work}/{folder}_{os.path.basename(source)[:-2]}.o"
            jobs.append(subprocess.Popen(["cc", *FLAGS, "-c", source, "-o", target]))
            objects[source] = target
            if len(jobs) >= 2 and jobs.pop(0).wait() != 0:
                sys.exit("mutants: the tree does not compile")
    if any(j.wait() != 0 for j in jobs):
        sys.exit("mutants: the tree does not compile")
    with open(f"{work}/main.c", "w") as f:
        f.write(MAIN)
    compile_to(f"{work}/main.c", f"{work}/main.o")
    return objects


def mutate(name, work, objects):
    file, *pairs = MUTANTS[name]
    path = f"{SOURCE}/src/core/{file}"
    text = open(path).read()
    for old, new in zip(pairs[::2], pairs[1::2]):
        if old not in text:
            sys.exit(f"mutants: {name}: {file} no longer holds: {old!r}")
        text = text.replace(old, new, 1)
    with open(f"{work}/mutant.c", "w") as f:
        f.write(text)
    compile_to(f"{work}/mutant.c", f"{work}/mutant.o")
    rest = [o for s, o in objects.items() if s != path]
    subprocess.run(["cc", "-o", f"{work}/mutant", f"{work}/main.o", f"{work}/mutant.o", *rest, *LIBS], check=True)


def first_failure(work, seeds, jobs, arguments):
    """(seed, text) of the first seed that fails, or None."""
    first, chunk = 1, 40
    while first <= seeds:
        last = min(first + chunk - 1, seeds)
        run = subprocess.run([f"{work}/mutant", "--seeds", f"{first}-{last}", "-j", str(jobs), *arguments],
                             capture_output=True, text=True)
        found = re.findall(r"^seed (\d+): (.*)$", run.stdout, re.M)
        if found:
            return min((int(s), t) for s, t in found)
        if run.returncode == 2:
            sys.exit("mutants: " + run.stderr)
        if run.returncode != 0:
            return first, "the simulator ends: " + (run.stderr.strip().splitlines() or ["?"])[-1]
        first, chunk = last + 1, chunk * 3
    return None


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=2000)
    parser.add_argument("-j", type=int, default=2)
    parser.add_argument("names", nargs="*", metavar="NAME")
    args = parser.parse_args()
    lives = []
    with tempfile.TemporaryDirectory(prefix="pgherd-mutants.") as work:
        objects = build_base(work)
        for name in args.names or MUTANTS:
            mutate(name, work, objects)
            found = first_failure(work, args.seeds, args.j, ARGUMENTS.get(name, []))
            if found:
                print(f"{name:28} seed {found[0]:5}  {found[1]}", flush=True)
            else:
                why = EXPECTED.get(name)
                print(f"{name:28} lives{'  (' + why + ')' if why else ''}", flush=True)
                if not why:
                    lives.append(name)
    print(f"{len(lives)} live" + (": " + " ".join(lives) if lives else ""))
    return 1 if lives else 0


if __name__ == "__main__":
    sys.exit(main())
