import assert from 'node:assert/strict'
import { chmodSync, readFileSync, renameSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs'
import { lowdbFormat } from '../../../adapters/lowdb/format.ts'
import { LockedLow, LockedLowSync } from '../../../adapters/lowdb.ts'
import { check, closedFile, dump, repair } from '../../../src/features/backup/backup.ts'
import { CorruptStoreError, PsLock, StaleWriteError } from '../../../src/index.ts'
import { useFolder } from '../../fixtures/folder.ts'
import type { LowCommands } from '../../fixtures/lowdb-worker.ts'
import { useSamePeers } from '../../harness/peer.ts'

interface Data {
  n: number
}

/** A journal holds what was acknowledged: who takes it away while it is not in the file must be told. */
describe('a journal of lowdb that was taken away', () => {
  const at = useFolder()
  const path = () => at('db.json')
  const journal = () => `${path()}.journal`
  const count = (data: Data) => void data.n++
  const processes = useSamePeers<LowCommands>('lowdb-worker', 1)
  const mode = () => statSync(path()).mode & 0o7777
  let left: LockedLow<Data>

  /** Leaves a file with n = 1 whose journal says 3, as a killed process does. */
  beforeEach(async () => {
    left = new LockedLow<Data>(path(), { n: 0 }, { journal: true })
    for (let i = 0; i < 3; i++) await left.update(count)
  })

  const stores: [string, (options?: object) => LockedLow<Data> | LockedLowSync<Data>][] = [
    ['a store with a journal', () => new LockedLow<Data>(path(), { n: 0 }, { journal: true })],
    ['a store without', () => new LockedLow<Data>(path(), { n: 0 })],
    ['a durable one', () => new LockedLow<Data>(path(), { n: 0 }, { durability: 'disk', journal: true })],
    ['a blocking one', () => new LockedLowSync<Data>(path(), { n: 0 })],
    ['one that had it loaded', () => left],
  ]
  const takes: [string, () => void, () => void][] = [
    ['removed', () => renameSync(journal(), at('copy')), () => renameSync(at('copy'), journal())],
    [
      'emptied',
      () => {
        writeFileSync(at('copy'), readFileSync(journal()))
        truncateSync(journal())
      },
      () => writeFileSync(journal(), readFileSync(at('copy'))),
    ],
  ]
  for (const [how, take, putBack] of takes)
    for (const [who, open] of stores) {
      it(`and is ${how} is missed by ${who}, until it is put back`, async () => {
        take()
        const before = readFileSync(path())
        const db = open()
        const calls: (() => unknown)[] = [
          () => db.read(),
          () => db.update(count),
          () => db.view(() => db.data),
          () => db.transaction(() => count(db.data)),
          () => db.read(),
        ]
        for (const call of calls) await assert.rejects(async () => call(), CorruptStoreError)
        assert.deepEqual(readFileSync(path()), before)
        putBack()
        await db.update(count)
        await db.read()
        assert.equal(db.data.n, 4)
      })
    }

  it('is missed by other processes, and not by an unmodified file', async () => {
    const [other] = processes
    renameSync(journal(), at('copy'))
    await assert.rejects(
      async () => {
        await other?.call('open', 'locked', path())
        await other?.call('read')
      },
      { code: 'PSLOCK_CORRUPT' },
    )
    writeFileSync(at('new.json'), '{"n":8}')
    renameSync(at('new.json'), path())
    await other?.call('open', 'locked', path())
    await other?.call('read')
  })

  it('is found by check, refused by dump; repair goes on without it', async () => {
    rmSync(journal())
    const file = () => closedFile(path(), new PsLock(path()), 5000, lowdbFormat)
    assert.deepEqual(
      (await check(file())).map(({ what }) => what),
      ['journal-gone'],
    )
    await assert.rejects(dump(file(), at('dump')), CorruptStoreError)
    assert.deepEqual(
      (await repair(file())).mended.map(({ what }) => what),
      ['journal-gone'],
    )
    assert.deepEqual(await check(file()), [])
    const db = new LockedLow<Data>(path(), { n: 0 }, { journal: true })
    await db.update(count)
    assert.equal(db.data.n, 2)
  })

  it('by a checkpoint is not missed, and the file has the mode that it had', async () => {
    await left.checkpoint()
    chmodSync(path(), 0o640)
    await left.update(count)
    await left.update(count)
    await left.checkpoint()
    assert.equal(mode(), 0o640)
    await left.update(count)
    const plain = new LockedLow<Data>(path(), { n: 0 })
    await plain.update(count)
    assert.equal(mode(), 0o640)
    await left.update(count)
    new LockedLowSync<Data>(path(), { n: 0 }).update(count)
    assert.equal(mode(), 0o640)
    await left.update(count)
    await left.close()
    assert.equal(mode(), 0o640)
    await plain.read()
    assert.equal(plain.data.n, 10)
  })

  it('since the file was edited in place is not missed once it has been put aside', async () => {
    writeFileSync(path(), '{"n":7}')
    const plain = new LockedLow<Data>(path(), { n: 0 })
    await assert.rejects(plain.read(), StaleWriteError)
    for (const db of [plain, left]) {
      await db.read()
      assert.equal(db.data.n, 7)
    }
    await left.update(count)
    await plain.read()
    assert.equal(plain.data.n, 8)
  })
})
