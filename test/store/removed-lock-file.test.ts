import assert from 'node:assert/strict'
import { readFileSync, renameSync, unlinkSync, writeFileSync } from 'node:fs'
import { LockedLow, LockedLowSync } from '../../adapters/lowdb.ts'
import { LockedNedb } from '../../adapters/nedb.ts'
import { LockLostError } from '../../src/errors.ts'
import type { PsLock } from '../../src/lock/lock.ts'
import { useFolder } from '../fixtures/folder.ts'

interface Counter {
  n: number
}

const WAYS: Record<string, (path: string) => void> = {
  removed: unlinkSync,
  renamed: (path) => renameSync(path, `${path}.old`),
  replaced: (path) => {
    writeFileSync(`${path}.new`, '')
    renameSync(`${path}.new`, path)
  },
}

/** A store locks its data file too: an operation whose lock file somebody removes is done, and says so. */
describe('a store whose lock file is', () => {
  const at = useFolder()

  for (const [what, hurt] of Object.entries(WAYS)) {
    describe(`${what} inside an operation`, () => {
      const inFile = () => (JSON.parse(readFileSync(at('low'), 'utf8')) as Counter).n

      for (const journal of [false, true]) {
        it(`LockedLow${journal ? ' with a journal' : ''}: update and transaction`, async () => {
          await using db = new LockedLow<Counter>(at('low'), { n: 0 }, { journal })
          const edit = (data: Counter) => {
            data.n++
            hurt(db.lock.path)
          }
          await db.update((data) => void data.n++)
          await db.update(edit)
          await db.transaction(() => db.update(edit))
          await db.read()
          assert.equal(db.data.n, 3)
        })
      }

      it('LockedLowSync: update, transaction, view', () => {
        const db = new LockedLowSync<Counter>(at('low'), { n: 0 })
        const edit = (data: Counter) => {
          data.n++
          hurt(db.lock.path)
        }
        db.update((data) => void data.n++)
        db.update(edit)
        db.transaction(() => db.update(edit))
        db.view(() => {})
        assert.equal(db.data.n, 3)
        assert.equal(inFile(), 3)
      })

      it('NeDB: transaction', async () => {
        await using db = new LockedNedb<Counter>({ filename: at('nedb'), autoload: true })
        await db.insertAsync({ n: 1 })
        await db.transaction(async () => {
          await db.insertAsync({ n: 2 })
          hurt(db.lock.path)
        })
        assert.equal(await db.countAsync({}), 2)
      })

      it("the user's own hold is told that it was lost", async () => {
        const low = new LockedLowSync<Counter>(at('low'), { n: 0 })
        low.update((data) => void data.n++)
        const work = (lock: PsLock) => {
          low.update((data) => void data.n++)
          hurt(lock.path)
        }
        assert.throws(() => low.lock.exclusiveSync(() => work(low.lock)), LockLostError)
        await assert.rejects(
          low.lock.exclusive(() => work(low.lock)),
          LockLostError,
        )
        assert.equal(inFile(), 3)
      })
    })
  }
})
