import assert from 'node:assert/strict'
import { LockedLow, LockedLowSync } from '../../adapters/lowdb.ts'
import { LockedNedb } from '../../adapters/nedb.ts'
import { LockedDatastore } from '../../adapters/nedb-promises.ts'
import { LockTree } from '../../src/lock-tree/lock-tree.ts'
import { hasRangeLocks } from '../../src/os/range-lock.ts'
import { useFolder } from '../fixtures/folder.ts'

/** `close()` waits for what is under way; called by that very thing it would wait for ever. */
describe('close() of a store inside an operation of its own', () => {
  const at = useFolder()
  const refused = (run: () => Promise<unknown>) =>
    assert.rejects(run(), ({ code }) => code === 'PSLOCK_TRANSACTION' || code === 'PSLOCK_DEADLOCK')

  const stores = {
    NeDB: () => new LockedNedb({ filename: at('data.db'), autoload: true }),
    'nedb-promises': () => LockedDatastore.create({ filename: at('data.db'), autoload: true }),
    lowdb: () => new LockedLow(at('data.json'), {}),
    'lowdb with a journal': () => new LockedLow(at('data.json'), {}, { journal: true }),
  }

  for (const [name, open] of Object.entries(stores)) {
    it(`${name}: is refused at once, and works afterwards`, async () => {
      const db = open()
      const close = () => refused(() => db.close())
      await db.transaction(close)
      await db.transaction(() => db.transaction(close))
      await db.transaction(close, { retry: 2 })
      await db.view(close)
      await db.lock.exclusive(close)
      await db.lock.shared(close)
      if (db instanceof LockedLow) await db.update(close)
      await db.close()
    })
  }

  it('lowdb, blocking', async () => {
    const db = new LockedLowSync(at('data.json'), {})
    const closing: Promise<void>[] = []
    const close = () => {
      closing.push(refused(() => db.close()))
    }
    db.update(close)
    db.transaction(close)
    db.view(close)
    db.lock.exclusiveSync(close)
    assert.equal(closing.length, 4)
    await Promise.all(closing)
    await db.close()
  })

  it('a LockTree', async function () {
    if (!hasRangeLocks) this.skip()
    const tree = new LockTree(at('tree'))
    await tree.exclusive('app', () => refused(() => tree.close()))
    const held = await tree.acquire('app')
    await held.run(() => refused(() => tree.close()))
    held.release()
    await tree.close()
  })
})
