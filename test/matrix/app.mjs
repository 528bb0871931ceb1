/**
 * What every way to load the package must be able to do: hold a lock that keeps another process out, and use each store.
 * `node app.mjs <folder>` prints "works"; started with a second argument it is that other process.
 */
import { spawnSync } from 'node:child_process'
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { PsLock, PsLockError } from 'pslock'
import { LockedLow } from 'pslock/lowdb'
import { LockedNedb } from 'pslock/nedb'
import { LockedDatastore } from 'pslock/nedb-promises'

export async function works(folder, again) {
  mkdirSync(folder, { recursive: true })
  const lock = new PsLock(join(folder, 'data'), { timeoutMs: 100 })
  const seen = await lock.exclusive(again)
  if (seen !== 'PSLOCK_TIMEOUT') throw new Error(`another process saw the lock as ${seen}`)
  const low = new LockedLow(join(folder, 'low.json'), { n: 0 })
  await low.update((data) => {
    data.n++
  })
  const db = new LockedNedb({ filename: join(folder, 'nedb.db'), autoload: true })
  await db.insertAsync({ at: new Date(1e12) })
  const promises = LockedDatastore.create(join(folder, 'promises.db'))
  await promises.transaction((tx) => tx.insert({ n: 1 }))
  const [{ at }] = await db.findAsync({})
  const found = [low.data.n, Number(at), (await promises.find({})).length]
  if (String(found) !== '1,1000000000000,1') throw new Error(`the stores hold ${found}`)
  for (const open of [low, db, promises, lock]) await open.close()
  return 'works'
}

/** How another process finds the lock. */
export async function other(folder) {
  const lock = new PsLock(join(folder, 'data'), { timeoutMs: 100 })
  try {
    return await lock.exclusive(() => 'free')
  } catch (error) {
    return error instanceof PsLockError ? error.code : String(error)
  }
}

const [program, folder, part] = process.argv.slice(1)
if (part) void other(folder).then((seen) => process.stdout.write(seen))
else if (folder) {
  const again = () =>
    String(spawnSync(process.execPath, [...process.execArgv, program, folder, 'other']).stdout)
  works(folder, again).then(console.log, (error) => {
    console.error(error)
    process.exitCode = 1
  })
}
