"""SQL over shards, through the endpoint."""
import psycopg
import pytest


@pytest.fixture(scope='module')
def shop(herd):
    herd.sql('create table customers(id bigint primary key, name text, country text)')
    herd.sql('create table orders(customer_id bigint, id bigint, amount numeric, country text, placed timestamptz, '
             'primary key (customer_id, id))')
    herd.sql('create table countries(code text primary key, name text)')
    herd.sql("select create_distributed_table('customers', 'id')")
    herd.sql("select create_distributed_table('orders', 'customer_id', colocate_with => 'customers')")
    herd.sql("select create_reference_table('countries')")
    with herd.connect() as conn:
        with conn.cursor().copy('copy customers from stdin') as copy:
            for i in range(1, 201):
                copy.write_row((i, f'name {i}', ['DE', 'FR', 'IT'][i % 3]))
        with conn.cursor().copy('copy orders from stdin') as copy:
            for i in range(1, 201):
                for j in range(1, i % 5 + 1):
                    copy.write_row((i, j, i * j, ['DE', 'FR', 'IT'][i % 3], '2026-01-01 00:00:00+00'))
        conn.execute("insert into countries values ('DE', 'Germany'), ('FR', 'France'), ('IT', 'Italy'), ('ES', 'Spain')")
    yield herd
    herd.sql('drop table orders, customers, countries')


ORDERS = [(i, j, i * j) for i in range(1, 201) for j in range(1, i % 5 + 1)]


def test_by_key(shop):
    assert shop.sql('select name from customers where id = %s', (17,)) == [('name 17',)]
    assert shop.sql('select count(*) from orders where customer_id = 4') == [(4,)]


def test_over_all_shards(shop):
    got = shop.sql('select count(*), sum(amount), avg(amount), min(amount), max(amount) from orders where amount > 10')
    want = [a for _, _, a in ORDERS if a > 10]
    assert got[0][0] == len(want) and got[0][1] == sum(want)
    assert abs(float(got[0][2]) - sum(want) / len(want)) < 1e-9
    assert got[0][3:] == (min(want), max(want))


def test_group_having_order_limit(shop):
    got = shop.sql('select country, count(*), sum(amount) from orders group by country '
                   'having count(*) > 1 order by sum(amount) desc limit 2')
    sums = {}
    for i, _, a in ORDERS:
        c = ['DE', 'FR', 'IT'][i % 3]
        n, s = sums.get(c, (0, 0))
        sums[c] = (n + 1, s + a)
    want = sorted(((c, n, s) for c, (n, s) in sums.items()), key=lambda r: -r[2])[:2]
    assert [tuple(r) for r in got] == want
    assert shop.sql('select distinct country from orders order by 1') == [('DE',), ('FR',), ('IT',)]
    got = shop.sql('select customer_id, id from orders order by amount desc, customer_id, id limit 5 offset 3')
    want = sorted(ORDERS, key=lambda r: (-r[2], r[0], r[1]))[3:8]
    assert got == [(i, j) for i, j, _ in want]


def test_joins(shop):
    got = shop.sql('select c.name, sum(o.amount) from customers c join orders o on o.customer_id = c.id '
                   'where c.id <= 10 group by c.name order by c.name')
    sums = {}
    for i, _, a in ORDERS:
        if i <= 10:
            sums[f'name {i}'] = sums.get(f'name {i}', 0) + a
    assert got == sorted(sums.items())
    got = shop.sql('select k.name, count(*) from orders o join countries k on k.code = o.country group by 1 order by 1')
    assert [r[0] for r in got] == ['France', 'Germany', 'Italy']
    got = shop.sql('select k.code, count(o.id) from countries k left join orders o on o.country = k.code '
                   'group by 1 order by 1')
    assert dict(got)['ES'] == 0 and sum(n for _, n in got) == len(ORDERS)


def test_modifications(shop):
    shop.sql("insert into orders values (1001, 1, 5, 'DE', now()), (1002, 1, 6, 'FR', now()), (1003, 1, 7, 'IT', now())")
    assert shop.sql('update orders set amount = amount + 1 where customer_id = 1001 returning amount') == [(6,)]
    shop.sql('update orders set amount = amount * 2 where customer_id > 1000')
    assert shop.sql('select sum(amount) from orders where customer_id > 1000') == [(12 + 12 + 14,)]
    shop.sql('delete from orders where customer_id > 1000')
    assert shop.sql('select count(*) from orders') == [(len(ORDERS),)]
    shop.sql("update countries set name = 'Deutschland' where code = 'DE'")
    for port in (shop.base, shop.base + 1):
        assert shop.sql("select name from countries where code = 'DE'", port=port) == [('Deutschland',)]


def test_prepared_statements(shop):
    with shop.connect(autocommit=True) as conn:
        for i in range(1, 40):
            got = conn.execute('select count(*) from orders where customer_id = %s', (i,), prepare=True).fetchone()
            assert got == (i % 5,)


def test_transaction_with_savepoints(shop):
    with shop.connect() as conn:
        conn.execute("insert into orders select 2000 + g, 1, 1, 'DE', now() from generate_series(1, 1) g")
        conn.execute("insert into orders values (2002, 1, 1, 'DE', now())")
        conn.execute('savepoint a')
        conn.execute("insert into orders values (2003, 1, 1, 'DE', now())")
        conn.execute('update orders set amount = 100 where customer_id = 2002')
        conn.execute('rollback to savepoint a')
        conn.execute("insert into orders values (2004, 1, 1, 'DE', now())")
        got = conn.execute('select customer_id, amount from orders where customer_id > 2000 order by 1').fetchall()
        assert got == [(2001, 1), (2002, 1), (2004, 1)]
        with pytest.raises(psycopg.errors.UniqueViolation):
            with conn.transaction():
                conn.execute("insert into orders values (2002, 1, 1, 'DE', now())")
    assert shop.sql('select count(*) from orders where customer_id > 2000') == [(3,)]
    with shop.connect() as conn:
        conn.execute('delete from orders where customer_id > 2000')
        conn.rollback()
    assert shop.sql('select count(*) from orders where customer_id > 2000') == [(3,)]
    shop.sql('delete from orders where customer_id > 2000')
    assert shop.sql('select count(*) from pg_prepared_xacts') == [(0,)]


def test_what_cannot_be_done_says_so(shop):
    with pytest.raises(psycopg.Error) as e:
        shop.sql('alter table orders drop column customer_id')
    assert 'cannot be dropped' in str(e.value) and 'HINT' in str(e.value)
    assert shop.sql('select count(*) from orders where customer_id = 4') == [(4,)]


def test_a_row_moves_to_another_shard(shop):
    """The distribution column is updated: there and back."""
    was = shop.sql('select * from orders where customer_id = 4 order by 1, 2')
    shop.sql('update orders set customer_id = 40004 where customer_id = 4')
    assert shop.sql('select count(*) from orders where customer_id = 4') == [(0,)]
    assert shop.sql('select count(*) from orders where customer_id = 40004') == [(4,)]
    shop.sql('update orders set customer_id = 4 where customer_id = 40004')
    assert shop.sql('select * from orders where customer_id = 4 order by 1, 2') == was
