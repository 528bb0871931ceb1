import assert from 'node:assert/strict'
import { readdirSync } from 'node:fs'
import { LockedLow, LockedLowSync } from '../../adapters/lowdb.ts'
import { LockedNedb } from '../../adapters/nedb.ts'
import { useFolder } from '../fixtures/folder.ts'

type Data = Record<string, number>

interface Place {
  readonly lockPath?: string
}

const STORES: Record<string, (path: string, place?: Place) => unknown> = {
  NeDB: async (filename, place) => {
    const db = new LockedNedb({ ...place, filename, autoload: true })
    await db.insertAsync({ _id: 'a' })
    await db.compactDatafileAsync()
    await db.close()
  },
  lowdb: async (path, place) => {
    const db = new LockedLow<Data>(path, {}, place)
    await db.update((data) => {
      data.a = 1
    })
    await db.close()
  },
  'lowdb with a journal': async (path, place) => {
    const db = new LockedLow<Data>(path, {}, { ...place, journal: true })
    await db.update((data) => {
      data.a = 1
    })
    await db.checkpoint()
    await db.close()
  },
  LowSync: (path, place) => {
    const db = new LockedLowSync<Data>(path, {}, place)
    db.update((data) => {
      data.a = 1
    })
  },
}

describe('names of the files of stores', () => {
  const at = useFolder()

  for (const [store, write] of Object.entries(STORES)) {
    it(`${store}: the longest name works, a longer one is refused at once`, async () => {
      await write(at('a'.repeat(243)))
      await write(at('日'.repeat(81)))
      const before = readdirSync(at())
      for (const name of ['a'.repeat(244), 'a'.repeat(250), 'a'.repeat(255), '日'.repeat(82)])
        await assert.rejects(async () => write(at(name)), { name: 'TypeError', message: /at most 243 bytes/ })
      assert.deepEqual(readdirSync(at()), before)
    })

    it(`${store}: a file that would be its own lock file is refused at once; with a lockPath it works`, async () => {
      const is = { name: 'TypeError', message: /choose another name/ }
      await assert.rejects(async () => write(at('x.lock')), is)
      await assert.rejects(async () => write(at('x'), { lockPath: at('x') }), is)
      assert.deepEqual(readdirSync(at()), [])
      await write(at('x.lock'), { lockPath: at('y.lock') })
    })
  }
})
