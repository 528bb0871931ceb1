import assert from 'node:assert/strict'
import { existsSync, readdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { lowdbFormat } from '../../../adapters/lowdb/format.ts'
import { LockedJSONFilePreset, LockedJSONFileSyncPreset, LockedLow } from '../../../adapters/lowdb.ts'
import { check, closedFile, dump, repair, restore } from '../../../src/features/backup/backup.ts'
import {
  ConflictError,
  CorruptStoreError,
  LockLostError,
  PsLock,
  StaleWriteError,
} from '../../../src/index.ts'
import { useFolder } from '../../fixtures/folder.ts'
import { failing, fileOf, foreignWrite } from '../../fixtures/lowdb-tools.ts'
import { warnings } from '../../fixtures/nedb-tools.ts'

interface Data {
  n: number
  [key: string]: unknown
}

/** A journal that is there counts for whoever opens the file, and in whatever way. */
describe('lowdb with a journal that somebody else keeps', () => {
  const at = useFolder()
  warnings()
  const path = () => at('db.json')
  const hasJournal = () => existsSync(`${path()}.journal`)
  const beside = () =>
    readdirSync(at())
      .filter((name) => /^db\.json\.journal/.test(name))
      .sort()
  const count = (data: Data) => void data.n++
  let left: LockedLow<Data> | undefined

  /** Leaves a file with n = 1 whose journal says 3. */
  beforeEach(async () => {
    left = new LockedLow<Data>(path(), { n: 0 }, { journal: true })
    for (let i = 0; i < 3; i++) await left.update(count)
    assert.deepEqual([fileOf<Data>(path()).n, hasJournal()], [1, true])
  })

  it('is read by a store without one, and put into the file by its first write', async () => {
    const db = await LockedJSONFilePreset<Data>(path(), { n: 0 })
    assert.deepEqual([db.data.n, fileOf<Data>(path()).n, hasJournal()], [3, 1, true])
    await left?.update(count)
    await db.read()
    assert.equal(db.data.n, 4)
    assert.equal(await db.view(({ data }) => data.n), 4)
    db.data.mine = 1
    await left?.update((data) => void Object.assign(data, { theirs: 1 }))
    await db.write()
    assert.deepEqual([fileOf(path()), hasJournal()], [{ n: 4, mine: 1, theirs: 1 }, false])
    await left?.update(count)
    assert.deepEqual([fileOf<Data>(path()).n, hasJournal()], [4, true])
    await db.update(count)
    assert.deepEqual([fileOf<Data>(path()).n, hasJournal()], [6, false])
    await left?.read()
    assert.deepEqual(left?.data, { n: 6, mine: 1, theirs: 1 })
    await left?.update(count)
    await db.checkpoint()
    assert.deepEqual([fileOf<Data>(path()).n, hasJournal()], [7, false])
  })

  it('is known to the blocking calls', async () => {
    const db = LockedJSONFileSyncPreset<Data>(path(), { n: 0 })
    assert.deepEqual([db.data.n, hasJournal()], [3, true])
    await left?.update(count)
    db.read()
    assert.equal(db.data.n, 4)
    assert.equal(
      db.view(({ data }) => data.n),
      4,
    )
    db.update(count)
    assert.deepEqual([fileOf<Data>(path()).n, hasJournal()], [5, false])
    await left?.update(count)
    db.data.mine = 1
    db.write()
    assert.deepEqual([fileOf(path()), hasJournal()], [{ n: 6, mine: 1 }, false])
  })

  it('is never left behind by a write that others come before', async () => {
    const db = await LockedJSONFilePreset<Data>(path(), { n: 0 })
    await db.update(count)
    let runs = 0
    const slow = async (tx: LockedLow<Data>) => {
      if (runs++ === 0) await left?.update(count)
      tx.data.n++
    }
    await db.transaction(slow, { retry: 1 })
    assert.deepEqual([runs, fileOf<Data>(path()).n], [2, 6])
    const never = db.transaction(
      async (tx) => {
        await left?.update(count)
        tx.data.n++
      },
      { retry: 0 },
    )
    await assert.rejects(never, ConflictError)
    await left?.read()
    assert.equal(left?.data.n, 7)
  })

  it('is put aside, with an error, once the file is another one', async () => {
    for (const open of [
      () => LockedJSONFilePreset<Data>(path(), { n: 0 }),
      () => LockedJSONFilePreset<Data>(path(), { n: 0 }, { journal: true }),
      async () => LockedJSONFileSyncPreset<Data>(path(), { n: 0 }),
      async () => left?.read(),
    ] as (() => Promise<{ data: Data } | undefined>)[]) {
      await left?.update(count)
      await left?.update(count)
      const kept = readFileSync(`${path()}.journal`, 'latin1')
      const asides = beside().length
      const n = 100 * asides
      foreignWrite(path(), { n })
      const error = await failing(open)
      assert.ok(error instanceof StaleWriteError, String(error))
      const aside = /kept in (\S+)\./.exec(error.message)?.[1] as string
      assert.equal(readFileSync(aside, 'latin1'), kept)
      assert.deepEqual([hasJournal(), beside().length, fileOf<Data>(path()).n], [false, asides, n])
      const db = await open()
      assert.equal((db ?? left)?.data.n, n, 'the next look takes the file as it is')
    }
  })

  it('is not added to while somebody replaces the file without a lock', async () => {
    const before = readFileSync(`${path()}.journal`)
    const replacing = left?.update((data) => {
      count(data)
      foreignWrite(path(), { n: 100 })
    })
    await assert.rejects(replacing as Promise<void>, LockLostError)
    assert.deepEqual(readFileSync(`${path()}.journal`), before)
    await assert.rejects(left?.update(count) as Promise<void>, StaleWriteError)
    await left?.update(count)
    assert.equal(left?.data.n, 101)
  })

  it('is refused where it is something else', async () => {
    renameSync(`${path()}.journal`, at('away'))
    writeFileSync(`${path()}.journal`, 'SQLite format 3\0')
    for (const open of [
      () => LockedJSONFilePreset<Data>(path(), { n: 0 }),
      () => left?.update(count),
      () => LockedJSONFileSyncPreset<Data>(path(), { n: 0 }),
    ]) {
      assert.ok((await failing(open)) instanceof CorruptStoreError)
      assert.equal(readFileSync(`${path()}.journal`, 'utf8'), 'SQLite format 3\0')
    }
    renameSync(at('away'), `${path()}.journal`)
    await left?.update(count)
    assert.equal(left?.data.n, 4)
  })

  it('is a part of dumps, goes into the file before a restore, and is looked at by check and repair', async () => {
    const lock = new PsLock(path())
    const file = closedFile(path(), lock, 5000, lowdbFormat)
    const findings = async () => (await check(file)).map(({ what }) => what)
    assert.deepEqual(await findings(), [])
    await dump(file, at('dump.json'))
    assert.equal(fileOf<Data>(at('dump.json')).n, 3)
    const whole = readFileSync(`${path()}.journal`)
    writeFileSync(`${path()}.journal`, whole.subarray(0, whole.length - 3))
    assert.deepEqual(await findings(), ['torn-tail'])
    await repair(file)
    assert.deepEqual([fileOf<Data>(path()).n, hasJournal(), await findings()], [2, false, ['kept-aside']])
    await left?.update(count)
    await restore(file, at('dump.json'))
    assert.deepEqual([fileOf<Data>(path()).n, hasJournal()], [3, false])
    await left?.update(count)
    await left?.update(count)
    // As the source of a restore.
    const other = closedFile(at('other.json'), new PsLock(at('other.json')), 5000, lowdbFormat)
    await restore(other, path())
    assert.equal(fileOf<Data>(at('other.json')).n, 5)
    foreignWrite(path(), { n: 100 })
    assert.deepEqual((await findings()).sort(), ['kept-aside', 'stale-journal'])
    const { kept } = await repair(file)
    assert.match(kept.join(), /\.journal-\d+$/)
    assert.deepEqual([fileOf<Data>(path()).n, hasJournal()], [100, false])
    // As the target of a dump.
    await left?.update(count)
    await left?.update(count)
    await dump(other, path(), { overwrite: true })
    await left?.read()
    assert.equal(left?.data.n, 5)
    await lock.close()
  })
})
