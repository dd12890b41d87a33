"""busy_percent: threads that have little to do rest, and take over again, while clients go on."""
import threading
import time

import pytest

from conftest import BASE, Box, Proxy, free_port, users, wait_for
from test_metrics import metrics

THREADS = 3


@pytest.fixture(scope="module")
def px(server):
    box = Box()
    users(box)
    port = free_port()
    ini = BASE.format(pg=server.port, mode="transaction", auth="trust", databases="", more="")
    ini += f"metrics_listen = 127.0.0.1:{port}\nworker_threads = {THREADS}\nbusy_percent = 95\n"
    try:
        p = Proxy(box, ini)
        p.web = port
        yield p
    finally:
        box.close()


class Client(threading.Thread):
    """Asks for a number that only it knows, every few milliseconds."""

    def __init__(self, px, number):
        super().__init__(daemon=True)
        self.px, self.number, self.rounds, self.wrong, self.over = px, number, 0, None, False
        self.start()

    def run(self):
        try:
            with self.px.connect(application_name=f"client {self.number}") as c:
                while not self.over:
                    with c.transaction():
                        got = c.execute("select %s::int, current_setting('application_name')", [self.number],
                                        prepare=self.number % 2 == 0).fetchone()
                        assert got == (self.number, f"client {self.number}")
                    self.rounds += 1
                    time.sleep(0.005)
        except Exception as e:  # noqa: BLE001
            self.wrong = e


def threads(px):
    v = metrics(px)
    return [int(v["pgherd_worker_thread", f'worker="{i}"']) for i in range(THREADS)]


def all_go_on(clients):
    seen = [c.rounds for c in clients]
    wait_for(lambda: any(c.wrong for c in clients) or
             all(c.rounds > n + 5 for c, n in zip(clients, seen)), timeout=60)
    assert [c.wrong for c in clients] == [None] * len(clients)


def test_threads_come_and_go(px):
    apart, together = list(range(THREADS)), [0] * THREADS
    assert threads(px) == together
    clients = [Client(px, i) for i in range(9)]
    all_go_on(clients)
    for percent, want in (("0", apart), ("100", together), ("0", apart)):
        px.console(f"SET busy_percent = '{percent}'")
        wait_for(lambda: threads(px) == want, timeout=60)
        clients += [Client(px, len(clients) + i) for i in range(3)]
        all_go_on(clients)
    v = metrics(px)
    # Newcomers go where the fewest are, whoever serves them.
    assert all(v["pgherd_worker_clients", f'worker="{i}"'] >= len(clients) // THREADS - 2
               for i in range(THREADS))
    for c in clients:
        c.over = True
    for c in clients:
        c.join(30)
        assert not c.is_alive() and c.wrong is None


def test_rested_threads_stop_too(px):
    """In both states the end comes in order; see Proxy.kill."""
    px.kill()
    px.start()
    assert threads(px) == [0] * THREADS
    assert px.sql("select 1") == [(1,)]
