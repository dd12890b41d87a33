"""Switchovers and losses under the running writer of the seeds."""
import os
import pty
import select
import signal
import subprocess
import time

import pytest
from conftest import Writer


def seeds_table(herd):
    """The tour has made it, unless a test of this file runs alone."""
    if herd.sql("select to_regclass('my_distributed_table')") == [(None,)]:
        herd.sql('create table my_distributed_table(id bigint not null generated always as identity, '
                 'value double precision)')
        herd.sql("select create_distributed_table('my_distributed_table', 'id')")


@pytest.fixture
def writer(herd):
    herd.wait('a whole herd', herd.healthy)
    seeds_table(herd)
    w = Writer(herd)
    w.start()
    w.wait_progress(50)
    yield w
    if w.is_alive():
        w.stop()


def finish(herd, writer):
    """The writer goes on, the herd heals, and nothing that was acknowledged is missing."""
    writer.wait_progress(50)
    herd.wait('healing', herd.healthy)
    writer.wait_progress(20)
    writer.stop()
    acked = writer.acked
    assert len(set(acked)) == len(acked), 'an id was given twice'
    present = {r[0] for r in herd.sql('select id from my_distributed_table')}
    missing = set(acked) - present
    assert not missing, f'{len(missing)} acknowledged rows are missing'


@pytest.mark.parametrize('group', [2, 1])
def test_switchover_of_a_worker(herd, writer, group):
    old = herd.leader(group)
    out = herd.ctl('switchover', 'demo', '--group', group, '--force').stdout
    assert 'Successfully switched over to' in out
    finish(herd, writer)
    assert herd.leader(group) != old
    assert writer.errors == []


def test_switchover_of_the_coordinator(herd, writer):
    old = herd.leader(0)
    herd.ctl('switchover', 'demo', '--group', 0, '--force')
    finish(herd, writer)
    assert herd.leader(0) != old
    assert writer.errors == []


def test_switchover_by_prompts(herd, writer):
    """pgherdctl switchover, answered as in the seeds: group, primary, candidate, when, sure."""
    old = herd.leader(2)
    answers = {b'Citus group: ': b'2\n', b'Primary [': b'\n', b'Candidate [': b'\n',
               b'When should the switchover take place': b'\n', b'Are you sure': b'y\n'}
    master, slave = pty.openpty()
    p = subprocess.Popen(herd.ctl_argv('switchover'), stdin=slave, stdout=slave, stderr=slave, close_fds=True)
    os.close(slave)
    seen, line, end = b'', b'', time.monotonic() + 60
    while time.monotonic() < end and p.poll() is None:
        if not select.select([master], [], [], 0.2)[0]:
            continue
        try:
            piece = os.read(master, 4096)
        except OSError:
            break
        seen += piece
        line += piece
        for prompt, answer in list(answers.items()):
            if prompt in line and line.rstrip(b' ')[-1:] == b':':
                os.write(master, answer)
                line = b''
                del answers[prompt]
    p.wait(30)
    os.close(master)
    assert not answers, (answers, seen.decode())
    assert b'Successfully switched over to' in seen, seen.decode()
    finish(herd, writer)
    assert herd.leader(2) != old
    assert writer.errors == []


@pytest.mark.parametrize('group', [1, 0])
def test_kill_9_of_a_postmaster(herd, writer, group):
    os.kill(herd.postmaster_of(herd.leader(group)), signal.SIGKILL)
    finish(herd, writer)


@pytest.mark.parametrize('group', [2, 0])
def test_loss_of_a_node(herd, writer, group):
    name = herd.leader(group)
    herd.kill_node(name)
    herd.wait('a new leader', lambda: herd.leader(group) not in (name, None))
    writer.wait_progress(50)
    # Nothing supervises the agents of a demo; starting it again starts what is missing.
    herd.start()
    finish(herd, writer)
    assert herd.leader(group) != name
