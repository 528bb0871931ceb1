// One process of the benchmark of stores on a server: told what to do over IPC, with pslock as it is built or by plain statements.
import pg from 'pg'
import { LockedNedb } from '../../dist/nedb.js'

const [who, url, name, me] = process.argv.slice(2)
const TEXT = 'as long as a small document of most programs is, more or less'
const newId = () => Math.random().toString(36).slice(2, 10) + Math.random().toString(36).slice(2, 10)

async function ofPslock() {
  const db = new LockedNedb({ url, name })
  await db.loadDatabaseAsync()
  const increment = (_id) => db.updateAsync({ _id }, { $inc: { n: 1 } }, {})
  return {
    insert: (i) => db.insertAsync({ i, text: TEXT }),
    own: () => increment(`own ${me}`),
    shared: () => increment('shared'),
    find: () => db.findOneAsync({ _id: 'shared' }),
    held: () =>
      db.transaction(async (tx) => {
        const found = await tx.findOneAsync({ _id: `own ${me}` })
        await tx.updateAsync({ _id: `own ${me}` }, { $set: { n: found.n + 1 } }, {})
      }),
    close: () => db.close(),
  }
}

async function ofStatements() {
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  const increment = (id) =>
    client.query({
      name: 'increment',
      text: `update plain set doc = jsonb_set(doc, '{n}', to_jsonb((doc->>'n')::int + 1)) where id = $1`,
      values: [id],
    })
  return {
    insert: (i) =>
      client.query({
        name: 'insert',
        text: 'insert into plain values ($1, $2)',
        values: [newId(), JSON.stringify({ i, text: TEXT })],
      }),
    own: () => increment(`own ${me}`),
    shared: () => increment('shared'),
    find: async () =>
      (await client.query({ name: 'find', text: 'select doc from plain where id = $1', values: ['shared'] }))
        .rows[0].doc,
    held: async () => {
      await client.query('begin')
      const { rows } = await client.query({
        name: 'lock',
        text: 'select doc from plain where id = $1 for update',
        values: [`own ${me}`],
      })
      const doc = { ...rows[0].doc, n: rows[0].doc.n + 1 }
      await client.query({
        name: 'write',
        text: 'update plain set doc = $2 where id = $1',
        values: [`own ${me}`, JSON.stringify(doc)],
      })
      await client.query('commit')
    },
    close: () => client.end(),
  }
}

const operations = await (who === 'pslock' ? ofPslock() : ofStatements())

process.on('message', async ({ operation, forMs, inFlight }) => {
  if (operation === undefined) {
    await operations.close()
    process.disconnect()
    return
  }
  const run = operations[operation]
  let count = 0
  const end = performance.now() + forMs
  const loop = async () => {
    while (performance.now() < end) {
      await run(count)
      count++
    }
  }
  const since = performance.now()
  await Promise.all(Array.from({ length: inFlight }, loop))
  process.send({ count, ms: performance.now() - since })
})
process.send('ready')
