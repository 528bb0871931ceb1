/**
 * One process that does one thing again and again: `node process.cjs <sqlite|pslock> <insert|inc|find> <file>`. It says,
 * as JSON, the milliseconds of processor time of its first 2,000 operations, and of 40,000 later ones for each 1,000.
 */
const { randomBytes } = require('node:crypto')
const { appendFileSync } = require('node:fs')

const [who, what, file] = process.argv.slice(2)
const KNOWN = 100
const FIRST = 2000
const BETWEEN = 10_000
const WARM = 40_000

const record = (i) => ({ name: `user${i}`, n: i, tags: ['a', 'b'], nested: { x: i } })
const idOf = (i) => `id${i % KNOWN}`

function openSqlite() {
  const Database = require('better-sqlite3')
  const db = new Database(file)
  db.pragma('journal_mode = WAL')
  db.pragma('synchronous = NORMAL')
  db.exec('create table docs (id text primary key, doc text)')
  const insert = db.prepare('insert into docs values (?, ?)')
  const inc = db.prepare(
    "update docs set doc = json_set(doc, '$.n', json_extract(doc, '$.n') + 1) where id = ?",
  )
  const find = db.prepare('select doc from docs where id = ?')
  for (let i = 0; i < KNOWN; i++) insert.run(idOf(i), JSON.stringify(record(i)))
  return {
    insert: async (i) => insert.run(randomBytes(12).toString('base64'), JSON.stringify(record(i))),
    inc: async (i) => inc.run(idOf(i)),
    find: async (i) => JSON.parse(find.get(idOf(i)).doc),
    count: async () => db.prepare('select count(*) as n from docs').get().n,
    sum: async () => db.prepare("select sum(json_extract(doc, '$.n')) as n from docs").get().n,
  }
}

async function openPslock() {
  const { LockedNedb } = require('../../dist/nedb.cjs')
  const db = new LockedNedb({ filename: file, autoload: true })
  await db.autoloadPromise
  // As somebody else writes them.
  const lines = Array.from({ length: KNOWN }, (_, i) => `${JSON.stringify({ _id: idOf(i), ...record(i) })}\n`)
  appendFileSync(file, lines.join(''))
  return {
    insert: (i) => db.insertAsync(record(i)),
    inc: (i) => db.updateAsync({ _id: idOf(i) }, { $inc: { n: 1 } }),
    find: (i) => db.findOneAsync({ _id: idOf(i) }),
    count: () => db.countAsync({}),
    sum: async () => (await db.findAsync({})).reduce((sum, { n }) => sum + n, 0),
  }
}

async function main() {
  const store = who === 'sqlite' ? openSqlite() : await openPslock()
  const run = store[what]
  const spentMs = async (from, count) => {
    const start = process.cpuUsage()
    for (let i = from; i < from + count; i++) await run(i)
    const { user, system } = process.cpuUsage(start)
    return (user + system) / 1000
  }
  const cold = await spentMs(0, FIRST)
  await spentMs(FIRST, BETWEEN)
  const warm = (await spentMs(FIRST + BETWEEN, WARM)) / (WARM / 1000)
  const all = FIRST + BETWEEN + WARM
  if ((await store.count()) !== KNOWN + (what === 'insert' ? all : 0)) throw new Error('some are missing')
  const before = (KNOWN * (KNOWN - 1)) / 2
  if (what === 'inc' && (await store.sum()) !== before + all) throw new Error('some were not counted')
  console.log(JSON.stringify({ cold, warm }))
}

void main()
