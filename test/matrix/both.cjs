/** The package by `require` and by `import`, in one program: one lock. */
const assert = require('node:assert/strict')
const { mkdirSync } = require('node:fs')
const { join } = require('node:path')
const required = require('pslock')

const folder = process.argv[2]

async function main() {
  mkdirSync(folder, { recursive: true })
  const imported = await import('pslock')
  assert.equal(imported.PsLock, required.PsLock)
  const [one, other] = [imported, required].map(({ PsLock }) => new PsLock(join(folder, 'both')))
  const held = await one.acquire()
  assert.equal(other.tryAcquire(), undefined)
  const error = await other.exclusive(() => {}, { timeoutMs: 30 }).catch((error) => error)
  assert.ok(error instanceof imported.LockTimeoutError)
  let isIn = false
  const waiting = other.exclusive(() => {
    isIn = true
  })
  await new Promise((resolve) => setTimeout(resolve, 20))
  assert.equal(isIn, false)
  held.release()
  await waiting
  assert.equal(await one.exclusive(() => other.exclusive(() => 'entered again')), 'entered again')

  const stores = { imported: await import('pslock/nedb'), required: require('pslock/nedb') }
  const [a, b] = Object.values(stores).map(({ LockedNedb }) => new LockedNedb(join(folder, 'both.db')))
  await Promise.all([a, b].map((db) => db.loadDatabaseAsync()))
  for (let n = 0; n < 20; n++)
    await (n % 2 ? a : b).updateAsync({ _id: 'n' }, { $inc: { n: 1 } }, { upsert: true })
  assert.equal((await a.findOneAsync({ _id: 'n' })).n, 20)
  const { LockedLow } = await import('pslock/lowdb')
  const { LockedLow: RequiredLow } = require('pslock/lowdb')
  const lows = [LockedLow, RequiredLow].map((Low) => new Low(join(folder, 'both.json'), { n: 0 }))
  await Promise.all(
    [...lows, ...lows].map((low) =>
      low.update((data) => {
        data.n++
      }),
    ),
  )
  assert.equal(lows[1].data.n, 4)
  for (const open of [one, other, a, b, ...lows]) await open.close()
  console.log('works')
}

main().catch((error) => {
  console.error(error)
  process.exitCode = 1
})
