import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { closeSync, openSync, readFileSync, rmSync, writeFileSync, writeSync } from 'node:fs'
import { nedbFormat } from '../../../adapters/nedb/inspect.ts'
import { LockedNedb } from '../../../adapters/nedb.ts'
import { check, closedFile, repair } from '../../../src/features/backup/backup.ts'
import { PsLock } from '../../../src/index.ts'
import { useFolder } from '../../fixtures/folder.ts'
import { Vanilla, warnings } from '../../fixtures/nedb-tools.ts'

type Doc = { _id: string }
const LONG = process.env.PSLOCK_LONG === '1'

const record = (id: string, pad = 6) => ({ _id: id, host: 'old-host', pad: 'p'.repeat(pad) })
const batch = (id: string, count: number, pad?: number) =>
  Array.from({ length: count }, (_, n) => record(`${id}${n}`, pad))

const KINDS: Record<string, (bytes: Buffer, at: number) => Buffer> = {
  'a bit flipped': (bytes, at) => changed(bytes, at, (bytes[at] as number) ^ 4),
  'a byte zeroed': (bytes, at) => changed(bytes, at, 0),
  'a byte removed': (bytes, at) => Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + 1)]),
  'bytes inserted': (bytes, at) =>
    Buffer.concat([bytes.subarray(0, at), Buffer.from('xy'), bytes.subarray(at)]),
  '512 NULs inserted': (bytes, at) =>
    Buffer.concat([bytes.subarray(0, at), Buffer.alloc(512), bytes.subarray(at)]),
  'a line cut short': (bytes, at) => {
    const feed = bytes.indexOf('\n', at)
    return Buffer.concat([bytes.subarray(0, at), bytes.subarray(feed)])
  },
}

function changed(bytes: Buffer, at: number, value: number): Buffer {
  const copy = Buffer.from(bytes)
  copy[at] = value
  return copy
}

describe('damage in the middle of a NeDB file', () => {
  const file = useFolder()
  warnings()

  async function written(fill: (db: LockedNedb) => Promise<unknown>): Promise<Buffer> {
    const db = new LockedNedb({ filename: file('good.db'), autoload: true })
    await fill(db)
    // Nothing of what is damaged is the last unit: a beginning of that would be torn.
    await db.insertAsync(record('last'))
    await db.close()
    const bytes = readFileSync(file('good.db'))
    rmSync(file('good.db'))
    return bytes
  }

  /** What is read, in the library's own way or ours; undefined where the file is refused. */
  async function read(
    Store: typeof Vanilla | typeof LockedNedb,
    bytes: Buffer,
    corruptAlertThreshold: number,
  ) {
    writeFileSync(file('a.db'), bytes)
    const db = new Store({ filename: file('a.db'), corruptAlertThreshold })
    try {
      await db.loadDatabaseAsync()
      const docs = (await db.findAsync({})) as Doc[]
      return new Map(docs.map((doc) => [doc._id, JSON.stringify(doc)]))
    } catch {
      return undefined
    } finally {
      await (db as Partial<LockedNedb>).close?.()
    }
  }

  /** Read as much as vanilla does, or more; or refused with every byte in its place. Repaired, every whole record is there. */
  async function requireRead(bytes: Buffer, says: string): Promise<void> {
    for (const threshold of [0, 1]) {
      const vanilla = await read(Vanilla, bytes, threshold)
      const found = await read(LockedNedb, bytes, threshold)
      if (!found) {
        assert.deepEqual(readFileSync(file('a.db')), bytes, `${says}: refused, and changed`)
        assert.ok(!vanilla || threshold === 0, `${says}: refused, but vanilla reads it`)
      }
      for (const [id, doc] of (found && vanilla) ?? []) assert.equal(found?.get(id), doc, `${says}: ${id}`)
    }
    const all = await read(LockedNedb, bytes, 1)
    if (!all) return
    writeFileSync(file('a.db'), bytes)
    const lock = new PsLock(file('a.db'))
    await repair(closedFile(file('a.db'), lock, 5000, nedbFormat))
    await lock.close()
    const repaired = await read(LockedNedb, readFileSync(file('a.db')), 0)
    assert.deepEqual(repaired, all, `${says}: repaired`)
  }

  for (const [name, fill, step] of [
    ['small units', async (db: LockedNedb) => db.insertAsync(batch('a', 3)), LONG ? 1 : 5],
    ['large units', async (db: LockedNedb) => db.insertAsync(batch('b', 12, 400)), LONG ? 11 : 331],
    [
      'a compacted file',
      async (db: LockedNedb) => {
        await db.insertAsync(batch('c', 4))
        await db.ensureIndexAsync({ fieldName: 'host' })
        await db.compactDatafileAsync()
      },
      LONG ? 1 : 31,
    ],
  ] as const) {
    it(`hides no whole record, at any byte: ${name}`, async function () {
      this.timeout(LONG ? 30 * 60_000 : 60_000)
      const bytes = await written(fill)
      const end = bytes.lastIndexOf('\n', bytes.length - 2)
      let next = 0
      for (let at = 0; at < end; at += step) {
        const kinds = Object.entries(KINDS)
        for (const [kind, damage] of LONG ? kinds : [kinds[next++ % kinds.length] as (typeof kinds)[number]])
          await requireRead(damage(bytes, at), `${name}, ${kind} at byte ${at}`)
      }
    })
  }

  it('that is an edit by hand is read as a whole, also by a store that is open, and named by a check', async () => {
    const bytes = await written(async (db) => {
      await db.insertAsync(batch('a', 100))
      for (const doc of batch('b', 20)) await db.insertAsync(doc)
    })
    writeFileSync(file('a.db'), bytes)
    await using db = new LockedNedb<Doc>({ filename: file('a.db'), autoload: true, corruptAlertThreshold: 0 })
    assert.equal(await db.countAsync({}), 121)
    execFileSync('sed', ['-i', 's/old-host/new-host-name/', file('a.db')])
    assert.equal(await db.countAsync({ host: 'new-host-name' }), 121)
    await using again = new LockedNedb({ filename: file('a.db'), autoload: true, corruptAlertThreshold: 0 })
    await again.insertAsync({ _id: 'blind' })
    assert.equal(await again.countAsync({}), 122)
    await using lock = new PsLock(file('a.db'))
    const findings = await check(closedFile(file('a.db'), lock, 5000, nedbFormat))
    assert.deepEqual(
      findings.map(({ what, line, byte }) => ({ what, line, byte })),
      [{ what: 'changed-unit', line: 1, byte: 0 }],
    )
  })

  it('by line ends of Windows keeps every record', async () => {
    const bytes = await written(async (db) => {
      await db.insertAsync(batch('a', 5))
      await db.insertAsync(batch('b', 12, 400))
    })
    await requireRead(Buffer.from(bytes.toString().replaceAll('\n', '\r\n')), 'CR LF')
  })

  it('counts under the threshold, and is refused with its line and byte', async () => {
    const bytes = await written(async (db) => db.insertAsync(batch('a', 30, 200)))
    const at = bytes.indexOf('"a7"')
    const damaged = changed(bytes, at, 0)
    assert.equal((await read(LockedNedb, damaged, 0.1))?.size, 30)
    writeFileSync(file('a.db'), damaged)
    await using db = new LockedNedb({ filename: file('a.db'), corruptAlertThreshold: 0 })
    await assert.rejects(db.loadDatabaseAsync(), {
      code: 'PSLOCK_CORRUPT',
      line: 9,
      byte: damaged.lastIndexOf('\n', at) + 1,
    })
    assert.deepEqual(readFileSync(file('a.db')), damaged)
  })
})

describe('a NeDB file of more than 512 MB', () => {
  const file = useFolder()
  warnings()

  it('is loaded, checked, and followed by a store that is open while it grows so much', async function () {
    this.timeout(120_000)
    const line = (n: number) => `{"_id":"k${n % 3}","pad":"${'x'.repeat(60_000)}"}\n`
    const part = Buffer.from(Array.from({ length: 300 }, (_, n) => line(n)).join(''))
    writeFileSync(file('a.db'), line(0))
    await using open = new LockedNedb<Doc>({ filename: file('a.db'), autoload: true, compaction: 'manual' })
    assert.equal(await open.countAsync({}), 1)
    const fd = openSync(file('a.db'), 'a')
    for (let size = 0; size < 2 ** 29 + 2 ** 20; size += part.length) writeSync(fd, part)
    closeSync(fd)
    assert.equal(await open.countAsync({}), 3)
    await using db = new LockedNedb({ filename: file('a.db'), autoload: true, compaction: 'manual' })
    assert.equal(await db.countAsync({}), 3)
    await using lock = new PsLock(file('a.db'))
    assert.deepEqual(await check(closedFile(file('a.db'), lock, 60_000, nedbFormat)), [])
    await db.compactDatafileAsync()
    assert.equal(await open.countAsync({}), 3)
  })
})
