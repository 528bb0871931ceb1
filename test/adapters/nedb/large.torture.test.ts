import assert from 'node:assert/strict'
import { readFileSync, writeFileSync } from 'node:fs'
import { LockedNedb } from '../../../adapters/nedb.ts'
import { temporaryFolder, warnings } from '../../fixtures/nedb-tools.ts'

/** More than a call may have arguments on a stack of common size, where many a `push(...all)` ends. */
const MANY = 150_000

describe('a large NeDB file', () => {
  const file = temporaryFolder()
  const warned = warnings()

  it('is found, counted and removed as a whole', async () => {
    const lines = Array.from({ length: MANY }, (_, n) => `{"_id":"${n}","n":0}`)
    writeFileSync(file('a.db'), `${lines.join('\n')}\n`)
    const db = new LockedNedb<{ _id: string; n: number }>({ filename: file('a.db'), autoload: true })
    assert.equal((await db.findAsync({})).length, MANY)
    assert.equal(await db.countAsync({ n: 0 }), MANY)
    assert.equal((await db.view(() => db.findAsync({}))).length, MANY)
    assert.equal(await db.removeAsync({}, { multi: true }), MANY)
    assert.equal(await db.countAsync({}), 0)
    await db.close()
  })

  it('may have as many unreadable lines, if the caller allows them, and keeps every one', async () => {
    const bad = Array.from({ length: MANY }, (_, n) => `bad ${n}`)
    writeFileSync(file('a.db'), `${['{"_id":"a"}', ...bad].join('\n')}\n`)
    const db = new LockedNedb({ filename: file('a.db'), corruptAlertThreshold: 1 })
    await db.loadDatabaseAsync()
    assert.equal(await db.countAsync({}), 1)
    assert.equal(readFileSync(file('a.db.corrupt-1'), 'utf8'), `${bad.join('\n')}\n`)
    assert.deepEqual(
      warned().map(({ code }) => code),
      ['PSLOCK_CORRUPT_LINES'],
    )
    await db.close()
  })
})
