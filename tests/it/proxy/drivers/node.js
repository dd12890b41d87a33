// What node-postgres can do, through a proxy that pools transactions: node node.js PORT PASSWORD
const assert = require('assert');
const { Client, Pool } = require('pg');

const options = {
  host: '127.0.0.1', port: Number(process.argv[2]), user: 'u_scram', password: process.argv[3], database: 'db',
  ssl: { rejectUnauthorized: false },
};

async function statements(c, mine) {
  assert.strictEqual((await c.query('select 1 as a')).rows[0].a, 1);
  for (let i = 0; i < 20; i++) {
    const text = await c.query('select $1::text as a', [`${mine}.${i}`]);
    assert.strictEqual(text.rows[0].a, `${mine}.${i}`);
    const named = await c.query({ name: 'mine', text: `select $1::int + ${mine} as a`, values: [i] });
    assert.strictEqual(named.rows[0].a, i + mine);
  }
}

async function errors(c) {
  await assert.rejects(c.query('select 1/0'), { code: '22012' });
  await assert.rejects(c.query('select $1::int', ['x']), { code: '22P02' });
  await assert.rejects(c.query({ name: 'bad', text: 'select nothing from nowhere' }), { code: '42P01' });
  await c.query('begin');
  await assert.rejects(c.query('select 1/0'));
  await assert.rejects(c.query('select 1'), { code: '25P02' });
  await c.query('rollback');
  assert.strictEqual((await c.query('select 2 as a')).rows[0].a, 2);
}

async function large(c) {
  const rows = (await c.query('select i, repeat($1, 500) as t from generate_series(1, 20000) i', ['x'])).rows;
  assert.strictEqual(rows.length, 20000);
  const big = 'y'.repeat(2000000);
  assert.strictEqual((await c.query('select length($1) as n', [big])).rows[0].n, 2000000);
  // Sent without waiting for each other's answers.
  const all = await Promise.all([...Array(100).keys()].map((i) => c.query('select $1::int as a', [i])));
  all.forEach((r, i) => assert.strictEqual(r.rows[0].a, i));
}

async function pool() {
  const p = new Pool({ ...options, max: 20 });
  await Promise.all([...Array(200).keys()].map(async (i) => {
    const c = await p.connect();
    try {
      await c.query('begin');
      const a = await c.query({ name: 'pooled', text: 'select pg_backend_pid() as pid, $1::int as i', values: [i] });
      const b = await c.query({ name: 'pooled', text: 'select pg_backend_pid() as pid, $1::int as i', values: [i] });
      assert.deepStrictEqual(a.rows, b.rows);
      await c.query('commit');
    } finally {
      c.release();
    }
  }));
  await p.end();
}

async function console_() {
  const c = new Client({ ...options, database: 'pgbouncer' });
  await c.connect();
  for (const what of ['pools', 'clients', 'servers', 'stats', 'lists', 'databases', 'users', 'config', 'mem', 'state']) {
    const simple = await c.query(`show ${what}`);
    assert.ok(simple.rows.length > 0, what);
    for (let i = 0; i < 2; i++) {
      const named = await c.query({ name: what, text: `show ${what}` });
      assert.deepStrictEqual(named.fields.map((f) => [f.name, f.dataTypeID]),
        simple.fields.map((f) => [f.name, f.dataTypeID]));
      assert.ok(named.rows.length > 0, what);
    }
  }
  assert.strictEqual(typeof (await c.query('show databases')).rows[0].pool_size, 'number');
  await assert.rejects(c.query('select 1'), { code: '08P01' });
  await assert.rejects(c.query({ name: 'no', text: 'select 1' }), { code: '08P01' });
  await c.query('set query_timeout = 7');
  await c.end();
}

async function main() {
  await console_();
  const a = new Client(options);
  const b = new Client(options);
  await a.connect();
  await b.connect();
  await Promise.all([statements(a, 1), statements(b, 2)]);
  await errors(a);
  await large(b);
  await a.end();
  await b.end();
  await pool();
}

main().catch((e) => {
  console.error(e);
  process.exit(1);
});
