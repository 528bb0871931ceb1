import assert from 'node:assert/strict'
import { statSync, truncateSync, writeFileSync } from 'node:fs'
import { lowdbFormat } from '../../../adapters/lowdb/format.ts'
import { LockedLow, LockedLowSync } from '../../../adapters/lowdb.ts'
import { check, closedFile, repair } from '../../../src/features/backup/backup.ts'
import { CorruptStoreError, PsLock, StoreIoError } from '../../../src/index.ts'
import { useFolder } from '../../fixtures/folder.ts'
import { fileOf } from '../../fixtures/lowdb-tools.ts'

interface Data {
  n: number
  texts?: string[]
}

/** Whole files that JSON.parse of Node does not take as they are: what is said of them must be true. */
describe('a file of lowdb', () => {
  const at = useFolder()
  const path = () => at('db.json')
  const file = () => closedFile(path(), new PsLock(path()), 5000, lowdbFormat)
  const opens: [string, () => LockedLow<Data> | LockedLowSync<Data>][] = [
    ['', () => new LockedLow<Data>(path(), { n: 0 })],
    [' with a journal', () => new LockedLow<Data>(path(), { n: 0 }, { journal: true })],
    [' that is read blocking', () => new LockedLowSync<Data>(path(), { n: 0 })],
  ]

  for (const [how, open] of opens) {
    it(`${how} with a byte order mark is refused as that, and stays`, async () => {
      writeFileSync(path(), '\ufeff{"n":1}')
      const db = open()
      const isThat = (error: unknown) =>
        error instanceof CorruptStoreError &&
        /byte order mark \(line 1, byte 0\)/.test(error.message) &&
        error.byte === 0
      await assert.rejects(async () => db.read(), isThat)
      await assert.rejects(async () => db.update((data) => void data.n++), isThat)
      assert.equal(statSync(path()).size, 10)
    })

    it(`${how} that is too large for a text is left alone, and not called damaged`, async () => {
      for (const size of process.env.PSLOCK_LONG ? [2 ** 29, 2 ** 31, 2 ** 33] : [2 ** 33]) {
        writeFileSync(path(), '{}')
        truncateSync(path(), size)
        const db = open()
        const isThat = (error: unknown) =>
          error instanceof StoreIoError && /too large for one text in Node.js \(512 MB\)/.test(error.message)
        await assert.rejects(async () => db.read(), isThat)
        await assert.rejects(async () => db.update((data) => void data.n++), isThat)
        assert.equal(statSync(path()).size, size)
      }
    })
  }

  it('with a byte order mark is found by check, and mended by repair, which keeps the mark', async () => {
    writeFileSync(path(), '\ufeff{"n":1}')
    assert.deepEqual(
      (await check(file())).map(({ what, byte }) => [what, byte]),
      [['byte-order-mark', 0]],
    )
    const { mended, kept } = await repair(file())
    assert.deepEqual([mended.length, kept.map((name) => statSync(name).size)], [1, [3]])
    assert.deepEqual(fileOf(path()), { n: 1 })
    const db = new LockedLow<Data>(path(), { n: 0 })
    await db.update((data) => void data.n++)
    assert.equal(db.data.n, 2)
    writeFileSync(path(), '\ufeff{"n":1} and more')
    assert.deepEqual(
      (await repair(file())).mended.map(({ what }) => what),
      ['byte-order-mark', 'trailing-bytes'],
    )
    assert.deepEqual(fileOf(path()), { n: 1 })
  })

  it('of 512 MB is not called damaged by check, and is not written', async function () {
    if (!process.env.PSLOCK_LONG) this.skip()
    writeFileSync(path(), '{}')
    truncateSync(path(), 2 ** 29)
    assert.deepEqual(
      (await check(file())).map(({ what }) => what),
      ['too-large'],
    )
    const db = new LockedLow<Data>(at('new.json'), { n: 0 })
    await db.update((data) => void data.n++)
    const large = db.update((data) => {
      data.texts = Array.from({ length: 600 }, () => 'x'.repeat(2 ** 20))
    })
    await assert.rejects(
      large,
      /cannot write .* too large for one text in Node.js \(512 MB\). Nothing was changed/,
    )
    assert.deepEqual([db.data, fileOf(at('new.json'))], [{ n: 1 }, { n: 1 }])
  })

  it('that is no JSON is not quoted with characters that do something, or that nobody sees', async () => {
    for (const text of ['\0{"n":1}', '{"n":\u001b[31m1}', '{"n":\u202e1}', '{"n":\u200b1}', '{\r"n"\r:}']) {
      writeFileSync(path(), text)
      for (const [, open] of opens) {
        await assert.rejects(
          async () => open().read(),
          (error: Error) => error instanceof CorruptStoreError && !/[\p{Cc}\p{Cf}]/u.test(error.message),
        )
      }
    }
  })
})
