"""./demo's manners: idempotent, clear errors, nothing left behind, stop and start."""
import os
import socket
import subprocess
import tempfile

from conftest import Herd, free_base_port


def test_twice_is_once(herd):
    pids = {m['Member']: herd.pid_of(m['Member']) for m in herd.members()}
    out = herd.start().stdout
    assert 'running already' in out
    assert pids == {m['Member']: herd.pid_of(m['Member']) for m in herd.members()}


def test_a_port_in_use_is_named(herd):
    with tempfile.TemporaryDirectory() as top, socket.socket() as s:
        os.chmod(top, 0o755)
        h = Herd(os.path.join(top, 'herd'), free_base_port())
        s.bind(('127.0.0.1', h.base + 1))
        s.listen()
        p = h.demo('start', '--base-port', h.base, check=False)
        assert p.returncode == 1
        assert f'port {h.base + 1} is in use' in p.stderr and '--base-port' in p.stderr
        assert not h.dir.exists()


def test_bad_arguments(herd):
    for args, code in ((['--workers', 'x'], 2), (['frobnicate'], 2), (['--base-port', '70000'], 2)):
        assert herd.demo(*args, check=False).returncode == code
    assert 'Usage' in subprocess.run([str(herd.dir / 'bin/pgherd'), 'demo', '--help'], capture_output=True, text=True).stdout


def test_stop_and_start_keep_the_data(herd):
    herd.sql('create table if not exists kept(a int)')
    herd.sql('insert into kept values (1)')
    herd.demo('stop')
    assert herd.demo('status', check=False).returncode == 1
    herd.start()
    herd.wait('a whole herd', herd.healthy)
    assert herd.sql('select count(*) from kept') == [(1,)]
    herd.sql('drop table kept')
