"""Loads like those of TPC-C and YCSB by several clients at once, and what must hold afterwards."""
import random
import threading
import time

import psycopg
import pytest

import plan_herd

SECONDS = 4
TABLES = """
create table warehouse (w_id int primary key, w_ytd numeric(12,2));
create table district (d_w_id int, d_id int, d_ytd numeric(12,2), d_next_o_id int, primary key (d_w_id, d_id));
create table orders (o_w_id int, o_d_id int, o_id int, o_ol_cnt int, primary key (o_w_id, o_d_id, o_id));
create table new_order (no_w_id int, no_d_id int, no_o_id int, primary key (no_w_id, no_d_id, no_o_id));
create table order_line (ol_w_id int, ol_d_id int, ol_o_id int, ol_number int, ol_i_id int, ol_supply_w_id int, ol_quantity int,
	primary key (ol_w_id, ol_d_id, ol_o_id, ol_number));
create table stock (s_w_id int, s_i_id int, s_quantity int, s_ytd int, primary key (s_w_id, s_i_id));
create table history (h_w_id int, h_d_id int, h_amount numeric(6,2));
create table item (i_id int primary key, i_price numeric(5,2));
create table usertable (ycsb_key text primary key, field0 text, version bigint default 0);
"""
WAREHOUSES, DISTRICTS, ITEMS, RECORDS = 4, 3, 40, 200


def load(con, distributed):
    """Tables and first rows, in the first schema of search_path."""
    con.execute(TABLES)
    for line in ("warehouse w_id", "district d_w_id", "orders o_w_id", "new_order no_w_id", "order_line ol_w_id",
                 "stock s_w_id", "history h_w_id", "usertable ycsb_key"):
        if distributed:
            con.execute("select create_distributed_table('%s', '%s')" % tuple(line.split()))
    if distributed:
        con.execute("select create_reference_table('item')")
    con.execute("insert into warehouse select g, 0 from generate_series(1, %d) g" % WAREHOUSES)
    con.execute("insert into district select w, d, 0, 1 from generate_series(1, %d) w, generate_series(1, %d) d" % (
        WAREHOUSES, DISTRICTS))
    con.execute("insert into item select g, g from generate_series(1, %d) g" % ITEMS)
    con.execute("insert into stock select w, i, 50, 0 from generate_series(1, %d) w, generate_series(1, %d) i" % (
        WAREHOUSES, ITEMS))
    con.execute("insert into usertable select 'user' || g, 'x' from generate_series(1, %d) g" % RECORDS)


@pytest.fixture(scope="module")
def herd():
    h = plan_herd.Herd()
    try:
        with h.connect() as con:
            con.execute("create schema if not exists loads; set search_path = loads; set citus.shard_count = 8")
            load(con, True)
        yield h
    finally:
        h.stop()


def run(herd, one, clients=4):
    """Clients through all nodes call one(connection, random) until the time is over; what they gave."""
    results, errors = [], []
    end = time.monotonic() + SECONDS

    def client(n):
        rnd = random.Random(n)
        try:
            with herd.connect(n % 3, options="-c search_path=loads", autocommit=False) as con:
                while time.monotonic() < end:
                    try:
                        with con.transaction():
                            got = one(con, rnd)
                        results.append(got)
                    except (psycopg.errors.DeadlockDetected, psycopg.errors.SerializationFailure):
                        pass
        except Exception as e:
            errors.append(e)

    threads = [threading.Thread(target=client, args=(n,)) for n in range(clients)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not errors, errors[:2]
    assert results
    return results


def tpcc(con, rnd):
    w, d = rnd.randint(1, WAREHOUSES), rnd.randint(1, DISTRICTS)
    if rnd.random() < 0.45:
        amount = rnd.randint(1, 5000)
        con.execute("update warehouse set w_ytd = w_ytd + %s where w_id = %s", (amount, w))
        con.execute("update district set d_ytd = d_ytd + %s where d_w_id = %s and d_id = %s", (amount, w, d))
        con.execute("insert into history values (%s, %s, %s)", (w, d, amount))
        return "payment"
    o, = con.execute("update district set d_next_o_id = d_next_o_id + 1 where d_w_id = %s and d_id = %s returning "
                     "d_next_o_id - 1", (w, d)).fetchone()
    items = sorted(rnd.sample(range(1, ITEMS), rnd.randint(3, 6)))
    con.execute("insert into orders values (%s, %s, %s, %s)", (w, d, o, len(items)))
    con.execute("insert into new_order values (%s, %s, %s)", (w, d, o))
    for n, i in enumerate(items):
        supply = w if rnd.random() < 0.9 else rnd.randint(1, WAREHOUSES)
        con.execute("select i_price from item where i_id = %s", (i,)).fetchone()
        con.execute("update stock set s_quantity = case when s_quantity > 10 then s_quantity - 5 else s_quantity + 86 end, "
                    "s_ytd = s_ytd + 5 where s_w_id = %s and s_i_id = %s", (supply, i))
        con.execute("insert into order_line values (%s, %s, %s, %s, %s, %s, 5)", (w, d, o, n + 1, i, supply))
    return "order"


def check_tpcc(con):
    """Consistency conditions 1 to 4, and that stock agrees with the lines."""
    def none(sql):
        assert con.execute(sql).fetchall() == []
    none("select w_id from warehouse join district on d_w_id = w_id group by w_id, w_ytd having w_ytd <> sum(d_ytd)")
    none("select d_w_id, d_id from district left join orders on o_w_id = d_w_id and o_d_id = d_id group by 1, 2, "
         "d_next_o_id having d_next_o_id - 1 <> coalesce(max(o_id), 0)")
    none("select no_w_id, no_d_id from new_order group by 1, 2 having max(no_o_id) - min(no_o_id) + 1 <> count(*)")
    none("select * from (select o_w_id, o_d_id, sum(o_ol_cnt) n from orders group by 1, 2) o full join (select ol_w_id, "
         "ol_d_id, count(*) m from order_line group by 1, 2) l on o_w_id = ol_w_id and o_d_id = ol_d_id "
         "where n is distinct from m")
    none("select s_w_id, s_i_id from stock left join order_line on ol_supply_w_id = s_w_id and ol_i_id = s_i_id "
         "group by 1, 2, s_ytd having s_ytd <> coalesce(sum(ol_quantity), 0)")
    none("select w_id from warehouse left join history on h_w_id = w_id group by w_id, w_ytd "
         "having w_ytd <> coalesce(sum(h_amount), 0)")


def test_tpcc(herd):
    run(herd, tpcc)
    with herd.connect(options="-c search_path=loads") as con:
        check_tpcc(con)


def ycsb(con, rnd):
    key = "user%d" % min(RECORDS, int(rnd.paretovariate(0.6)))
    draw = rnd.random()
    if draw < 0.5:
        assert con.execute("select field0, version from usertable where ycsb_key = %s", (key,)).fetchone()
        return 0
    if draw < 0.95:
        return con.execute("update usertable set field0 = %s, version = version + 1 where ycsb_key = %s",
                           (str(draw), key)).rowcount
    con.execute("select * from usertable where ycsb_key >= %s order by ycsb_key limit 10", (key,)).fetchall()
    return 0


def test_ycsb(herd):
    """No update is lost."""
    updates = sum(run(herd, ycsb))
    with herd.connect(options="-c search_path=loads") as con:
        assert con.execute("select sum(version), count(*) from usertable").fetchone() == (updates, RECORDS)
