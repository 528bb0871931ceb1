/**
 * A short program, as users write them: opens a store, looks something up, changes it, ends.
 * `node short.mjs <way> <file> <number>`. The built package by its path: bench/ is a package of its own.
 */
const [way, file, number] = process.argv.slice(2)
const n = Number(number)

/** Half of them insert, half of them remove what was there before. */
async function onNedb(db) {
  await db.findOneAsync({ _id: `r${n * 7}` })
  if (n % 2) await db.insertAsync({ _id: `new${n}`, text: 'inserted' })
  else await db.removeAsync({ _id: `r${n}` }, {})
}

function change(data) {
  data.records.find(({ id }) => id === n * 7)
  data.records.push({ id: 1000 + n, text: 'pushed' })
}

const WAYS = {
  async nedb() {
    const { default: Datastore } = await import('@seald-io/nedb')
    const db = new Datastore({ filename: file })
    await db.loadDatabaseAsync()
    await onNedb(db)
  },
  async 'pslock/nedb'() {
    const { LockedNedb } = await import('../../dist/nedb.js')
    const db = new LockedNedb({ filename: file, autoload: true })
    await onNedb(db)
  },
  async lowdb() {
    const { JSONFilePreset } = await import('lowdb/node')
    const db = await JSONFilePreset(file, { records: [] })
    await db.update(change)
  },
  async 'pslock/lowdb'() {
    const { LockedJSONFilePreset } = await import('../../dist/lowdb.js')
    const db = await LockedJSONFilePreset(file, { records: [] })
    await db.update(change)
  },
  async 'lowdb + proper-lockfile'() {
    const { default: lockfile } = await import('proper-lockfile')
    const { JSONFilePreset } = await import('lowdb/node')
    const release = await lockfile.lock(file, {
      retries: { forever: true, minTimeout: 1, maxTimeout: 50 },
      stale: 60_000,
    })
    const db = await JSONFilePreset(file, { records: [] })
    await db.update(change)
    await release()
  },
}
await WAYS[way]()
