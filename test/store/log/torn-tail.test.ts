import assert from 'node:assert/strict'
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { nedbFormat } from '../../../adapters/nedb/inspect.ts'
import { LockedNedb } from '../../../adapters/nedb.ts'
import { CorruptStoreError } from '../../../src/errors.ts'
import { allOf, bytesSource } from '../../../src/store/snapshot.ts'
import {
  idsOf,
  recordsOf,
  seenByVanilla,
  temporaryFolder,
  Vanilla,
  warnings,
} from '../../fixtures/nedb-tools.ts'

const good = (count: number) => Array.from({ length: count }, (_, n) => `{"_id":"d${n}"}\n`).join('')

describe('a damaged NeDB file', () => {
  const file = temporaryFolder()
  const warned = warnings()

  it('control: vanilla glues the next record to a torn one and loses both', async () => {
    writeFileSync(file('a.db'), `${good(30)}{"_id":"torn","v":"half a rec`)
    const db = new Vanilla({ filename: file('a.db') })
    ;(db as unknown as { executor: { ready: boolean } }).executor.ready = true
    await db.insertAsync({ _id: 'fresh' })
    const later = new Vanilla({ filename: file('a.db') })
    await later.loadDatabaseAsync()
    assert.ok(!idsOf(await later.findAsync({})).includes('fresh'))
  })

  it('loses its torn tail, which is kept aside, and no later record', async () => {
    writeFileSync(file('a.db'), `${good(30)}{"_id":"torn","v":"half a rec`)
    await using db = new LockedNedb({ filename: file('a.db'), autoload: true })
    await db.insertAsync({ _id: 'fresh' })
    const seen = idsOf(await seenByVanilla(file('a.db')))
    assert.equal(seen.length, 31)
    assert.ok(seen.includes('fresh'))
    assert.equal(readFileSync(file('a.db.torn-1'), 'utf8'), '{"_id":"torn","v":"half a rec')
    assert.deepEqual(
      warned().map(({ code }) => code),
      ['PSLOCK_TORN_TAIL'],
    )
  })

  it('keeps a complete last record that only lacks its line feed', async () => {
    writeFileSync(file('a.db'), `${good(3)}{"_id":"nolf"}`)
    await using db = new LockedNedb({ filename: file('a.db'), autoload: true })
    await db.insertAsync({ _id: 'fresh' })
    assert.deepEqual(idsOf(await seenByVanilla(file('a.db'))), ['d0', 'd1', 'd2', 'fresh', 'nolf'])
    assert.ok(!existsSync(file('a.db.torn-1')))
  })

  it('keeps a complete last record that zeros follow: power loss took what came later', async () => {
    const lost = '\0'.repeat(700)
    writeFileSync(file('a.db'), `${good(30)}{"_id":"nolf"}${lost}`)
    await using db = new LockedNedb({ filename: file('a.db'), autoload: true })
    await db.dump(file('dump.db'))
    await db.insertAsync({ _id: 'fresh' })
    assert.equal(readFileSync(file('a.db.torn-1'), 'utf8'), lost)
    const expected = [...Array.from({ length: 30 }, (_, n) => `d${n}`), 'nolf']
    assert.deepEqual(idsOf(await seenByVanilla(file('a.db'))), [...expected, 'fresh'].sort())
    assert.deepEqual(idsOf(await seenByVanilla(file('dump.db'))), expected.sort())
  })

  it('keeps the records on both sides of zeros that power loss has left in the middle', async () => {
    const content = `${good(30)}{"_id":"nolf"}${'\0'.repeat(700)}"v":1}\n{"_id":"later"}\n`
    writeFileSync(file('a.db'), content)
    await using db = new LockedNedb({ filename: file('a.db'), autoload: true })
    const whole = [...Array.from({ length: 30 }, (_, n) => `d${n}`), 'nolf', 'later']
    assert.deepEqual(idsOf(await db.findAsync({})), whole.toSorted())
    await assert.rejects(db.dump(file('dump.db')), /line 31, byte \d+.* \(31 of 32 records are readable\)/)
    await db.insertAsync({ _id: 'fresh' })
    assert.equal(readFileSync(file('a.db'), 'utf8'), `${content}{"_id":"fresh"}\n`)
  })

  it('a dump and a check of it look behind such a record too', async () => {
    writeFileSync(file('a.db'), `${good(3)}{"_id":"nolf"}${'\0'.repeat(70)}`)
    const { findings, content } = await nedbFormat.inspect(bytesSource(readFileSync(file('a.db'))))
    assert.deepEqual(
      findings.map(({ what }) => what),
      ['unterminated', 'torn-tail'],
    )
    assert.equal(content && (await allOf(content)).toString(), `${good(3)}{"_id":"nolf"}\n`)
  })

  it('is not changed by readers; they see the same as the next writer', async () => {
    const content = `${good(3)}{"_id":"nolf"}`
    writeFileSync(file('a.db'), good(3))
    await using db = new LockedNedb({ filename: file('a.db'), autoload: true })
    await db.autoloadPromise
    for (const [tail, count] of [
      ['{"_id":"nolf"}', 4],
      ['{"_id":"to', 3],
    ] as const) {
      writeFileSync(file('a.db'), `${good(3)}${tail}`)
      assert.equal(await db.countAsync({}), count)
      assert.equal(await db.countAsync({}), count)
      assert.equal(readFileSync(file('a.db'), 'utf8'), `${good(3)}${tail}`)
    }
    writeFileSync(file('a.db'), content)
    await db.insertAsync({ _id: 'e' })
    assert.equal(await db.countAsync({}), 5)
  })

  for (const lines of [5, 8]) {
    it(`is not refused for a torn tail, which was never acknowledged, behind ${lines} lines`, async () => {
      writeFileSync(file('a.db'), `${good(lines)}{"_id":"to`)
      await using db = new LockedNedb({ filename: file('a.db'), autoload: true })
      assert.equal(await db.countAsync({}), lines)
    })
  }

  it('is refused above the corrupt threshold, and left as it is', async () => {
    const content = `${good(5)}{"_id":"bro\n${good(3)}`
    writeFileSync(file('a.db'), content)
    await using db = new LockedNedb({ filename: file('a.db') })
    await assert.rejects(db.loadDatabaseAsync(), (error: Error & Record<string, unknown>) => {
      assert.ok(error instanceof CorruptStoreError)
      assert.deepEqual([error.code, error.path, error.corruptItems], ['PSLOCK_CORRUPT', file('a.db'), 1])
      return true
    })
    assert.equal(readFileSync(file('a.db'), 'utf8'), content)
    assert.deepEqual(
      readdirSync(file('.')).filter((name) => !name.includes('.lock')),
      ['a.db'],
    )
  })

  it('is opened below the threshold with a warning, and its bad lines are kept before a rewrite', async () => {
    writeFileSync(file('a.db'), `${good(50)}{"_id":"bro\n${good(50)}garbage\n`)
    await using db = new LockedNedb({ filename: file('a.db'), autoload: true })
    assert.equal(await db.countAsync({}), 50)
    await db.insertAsync({ _id: 'more' })
    assert.ok(!existsSync(file('a.db.corrupt-1')))
    await db.compactDatafileAsync()
    assert.equal(readFileSync(file('a.db.corrupt-1'), 'utf8'), '{"_id":"bro\ngarbage\n')
    assert.equal((await seenByVanilla(file('a.db'))).length, 51)
    assert.ok(warned().some(({ code }) => code === 'PSLOCK_CORRUPT_LINES'))
    await db.compactDatafileAsync()
    assert.ok(!existsSync(file('a.db.corrupt-2')), 'the same lines were kept twice')
  })

  it('with a corruptAlertThreshold of 0 is refused for one bad line', async () => {
    writeFileSync(file('a.db'), `${good(50)}{"_id":"bro\n${good(50)}`)
    await using db = new LockedNedb({ filename: file('a.db'), corruptAlertThreshold: 0 })
    await assert.rejects(db.loadDatabaseAsync(), { code: 'PSLOCK_CORRUPT' })
  })

  for (const [name, content] of Object.entries({
    'a lowdb file': '{\n  "posts": [\n    { "id": 1 }\n  ]\n}',
    'a lowdb file with a line feed': '{\n  "posts": []\n}\n',
    'an SQLite file': `SQLite format 3\0${'\0'.repeat(3000)}`,
    'a text file': 'Dear diary,\ntoday I wrote a text.\n',
    'a text file without line feed': 'Dear diary',
    'a file of zeros': '\0'.repeat(5000),
  })) {
    it(`of a foreign format is refused and left as it is: ${name}`, async () => {
      writeFileSync(file('a.db'), content)
      const db = new LockedNedb({ filename: file('a.db') })
      await assert.rejects(db.loadDatabaseAsync(), { code: 'PSLOCK_CORRUPT' })
      db.insertAsync({ _id: 'a' }).catch(() => {})
      await assert.rejects(
        db.lock.exclusive(() => db.loadDatabaseAsync()),
        { code: 'PSLOCK_CORRUPT' },
      )
      assert.equal(readFileSync(file('a.db'), 'utf8'), content)
      await db.close()
    })
  }

  it('may hold lines that NeDB does not know; they are skipped, as vanilla does', async () => {
    writeFileSync(file('a.db'), '{"$$txn":1}\n{"_id":"a"}\n{"$$gen":"6f"}\n{"_id":"b"}\n')
    await using db = new LockedNedb({ filename: file('a.db'), autoload: true, corruptAlertThreshold: 0 })
    assert.deepEqual(idsOf(await db.findAsync({})), ['a', 'b'])
    await db.insertAsync({ _id: 'c' })
    assert.equal(recordsOf(file('a.db')).length, 5)
    assert.deepEqual(idsOf(await seenByVanilla(file('a.db'))), ['a', 'b', 'c'])
  })

  it('that was edited on Windows opens: CRLF and blank lines', async () => {
    writeFileSync(file('a.db'), '{"_id":"a"}\r\n\r\n{"_id":"b"}\r\n')
    await using db = new LockedNedb({ filename: file('a.db'), autoload: true })
    assert.deepEqual(idsOf(await db.findAsync({})), ['a', 'b'])
  })
})
