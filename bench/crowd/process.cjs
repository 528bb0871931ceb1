/**
 * One of many processes: `node process.cjs <sqlite|binding> <insert|inc|find|durable|transaction> <operations> <pause in ms> <file>`. It opens the
 * file, tells how much is in it, waits for a message, and tells how long its operations took, each and together.
 */
const { randomBytes } = require('node:crypto')
const { setTimeout: pause } = require('node:timers/promises')

const [who, what, operations, pauseMs, file] = process.argv.slice(2)
const PATIENT_MS = 120_000

const record = (i) => ({ name: `user${i}`, n: i, tags: ['a', 'b'], nested: { x: i } })

function openSqlite() {
  const Database = require('better-sqlite3')
  const db = new Database(file, { timeout: PATIENT_MS })
  db.pragma('journal_mode = WAL')
  db.pragma(`synchronous = ${what === 'durable' ? 'FULL' : 'NORMAL'}`)
  db.exec('create table if not exists docs (id text primary key, doc text)')
  db.exec(`insert or ignore into docs values ('counter', '{"n":0}')`)
  const insert = db.prepare('insert into docs values (?, ?)')
  const inc = db.prepare(
    "update docs set doc = json_set(doc, '$.n', json_extract(doc, '$.n') + 1) where id = 'counter'",
  )
  const find = db.prepare('select doc from docs where id = ?')
  const add = (i) => insert.run(randomBytes(12).toString('base64'), JSON.stringify(record(i)))
  const ten = db.transaction((i) => {
    for (let n = 0; n < 10; n++) add(i + n)
  }).immediate
  return {
    insert: async (i) => add(i),
    durable: async (i) => add(i),
    transaction: async (i) => ten(i),
    inc: async () => inc.run(),
    find: async () => JSON.parse(find.get('counter').doc),
    count: async () => db.prepare('select count(*) as n from docs').get().n,
  }
}

async function openPslock() {
  const { LockedNedb } = require('../../dist/nedb.cjs')
  const durability = what === 'durable' ? 'disk' : 'process'
  const db = new LockedNedb({ filename: file, autoload: true, timeoutMs: PATIENT_MS, durability })
  await db.autoloadPromise
  await db.updateAsync({ _id: 'counter' }, { $inc: { n: 0 } }, { upsert: true })
  return {
    insert: (i) => db.insertAsync(record(i)),
    durable: (i) => db.insertAsync(record(i)),
    transaction: (i) =>
      db.transaction(async (tx) => {
        for (let n = 0; n < 10; n++) await tx.insertAsync(record(i + n))
      }),
    inc: () => db.updateAsync({ _id: 'counter' }, { $inc: { n: 1 } }),
    find: () => db.findOneAsync({ _id: 'counter' }),
    count: () => db.countAsync({}),
  }
}

async function main() {
  const store = who === 'sqlite' ? openSqlite() : await openPslock()
  const run = store[what]
  // Those that work do not count: it would read all that is there.
  const count =
    Number(operations) > 0 ? undefined : what === 'inc' ? (await store.find()).n : await store.count()
  process.send({ count })
  await new Promise((go) => process.once('message', go))
  const spent = process.cpuUsage()
  const from = performance.timeOrigin + performance.now()
  let longestMs = 0
  for (let i = 0; i < Number(operations); i++) {
    const since = performance.now()
    await run(i)
    longestMs = Math.max(longestMs, performance.now() - since)
    if (Number(pauseMs) > 0) await pause(Number(pauseMs))
  }
  const { user, system } = process.cpuUsage(spent)
  const to = performance.timeOrigin + performance.now()
  process.send({ from, to, longestMs, cpuMs: (user + system) / 1000 }, () => process.exit())
}

void main()
