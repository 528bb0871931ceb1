import assert from 'node:assert/strict'
import { readdirSync, symlinkSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { LockedLow, LockedLowSync } from '../../adapters/lowdb.ts'
import { LockedNedb } from '../../adapters/nedb.ts'
import { throttle } from '../../src/features/hooks/throttle.ts'
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
      await write(at('a'.repeat(226)))
      await write(at('日'.repeat(75)))
      const before = readdirSync(at())
      for (const name of [
        'a'.repeat(227),
        'a'.repeat(243),
        'a'.repeat(250),
        'a'.repeat(255),
        '日'.repeat(76),
      ])
        await assert.rejects(async () => write(at(name)), { name: 'TypeError', message: /at most 226 bytes/ })
      assert.deepEqual(readdirSync(at()), before)
    })

    it(`${store}: the longest name is none too long for what may come beside it`, async () => {
      const path = at('a'.repeat(226))
      const db =
        store === 'NeDB'
          ? new LockedNedb({ filename: path, autoload: true })
          : new LockedLow<Data>(path, {}, { journal: store.includes('journal') })
      db.use(throttle({ writesPerSecond: 1000, per: 'store' }))
      for (const file of [path, `${path}.schema`, `${path}.journal`])
        symlinkSync('/nowhere', join(dirname(file), `.${basename(file)}.pslock.tmp`))
      const notes = db.table<{ text: string }>('notes')
      await notes.create({ text: 'string' })
      await notes.insert({ text: 'a' })
      await db.dump(at('dump'))
      await db.restore(at('dump'))
      assert.equal((await notes.select()).length, 1)
      await db.close()
    })

    it(`${store}: a file that would be its own lock file is refused at once; with a lockPath it works`, async () => {
      const is = { name: 'TypeError', message: /choose another name/ }
      await assert.rejects(async () => write(at('x.lock')), is)
      await assert.rejects(async () => write(at('x'), { lockPath: at('x') }), is)
      assert.deepEqual(readdirSync(at()), [])
      await write(at('x.lock'), { lockPath: at('y.lock') })
    })

    it(`${store}: a link is refused for the name that it leads to`, async () => {
      const own = { name: 'TypeError', message: /choose another name/ }
      symlinkSync('y.lock', at('to a lock file'))
      symlinkSync(at('to a lock file'), at('twice'))
      symlinkSync('x', at('link'))
      symlinkSync('a'.repeat(227), at('long'))
      const before = readdirSync(at())
      for (const name of ['to a lock file', 'twice']) {
        await assert.rejects(async () => write(at(name)), own)
        await assert.rejects(async () => write(at('y.lock'), { lockPath: at(name) }), own)
      }
      await assert.rejects(async () => write(at('link'), { lockPath: at('x') }), own)
      await assert.rejects(async () => write(at('x'), { lockPath: at('link') }), own)
      await assert.rejects(async () => write(at('long')), { name: 'TypeError', message: /at most 226 bytes/ })
      assert.deepEqual(readdirSync(at()), before)
      await write(at('twice'), { lockPath: at('elsewhere.lock') })
    })
  }
})
