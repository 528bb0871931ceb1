import assert from 'node:assert/strict'
import { LockedLow, LockedLowSync } from '../../../adapters/lowdb.ts'
import { StoreIoError, TransactionError } from '../../../src/index.ts'
import { useFolder } from '../../fixtures/folder.ts'
import { failing, fileOf, foreignWrite, untouched } from '../../fixtures/lowdb-tools.ts'
import { fillUp, useSmallDisk } from '../../fixtures/small-disk.ts'

interface Data {
  n: number
  list: string[]
}

const START: Data = { n: 0, list: [] }
const undo = new Error('undo')

describe('lowdb transactions', () => {
  const at = useFolder()
  const open = () => new LockedLow<Data>(at('db.json'), START)

  it('tx.data, and db.data inside, are what the transaction works on; outside nothing is seen of it', async () => {
    const db = open()
    await db.update((data) => void data.n++)
    const { data } = db
    await db.transaction(async (tx) => {
      tx.data.n = 5
      await db.update(({ list }) => void list.push('a'))
      assert.deepEqual(
        [db.data, tx.data],
        [
          { n: 5, list: ['a'] },
          { n: 5, list: ['a'] },
        ],
      )
      db.data.list.push('b')
      await tx.write()
      assert.deepEqual(data, { n: 1, list: [] })
      assert.deepEqual(fileOf(at('db.json')), { n: 1, list: [] })
      tx.data = { n: 6, list: tx.data.list }
    })
    assert.deepEqual(fileOf(at('db.json')), { n: 6, list: ['a', 'b'] })
    assert.equal(db.data, data, 'the tree that people hold is the same one')
    assert.deepEqual(data, { n: 6, list: ['a', 'b'] })
  })

  it('a throw keeps unsaved edits unsaved edits', async () => {
    const db = open()
    await db.write()
    db.data.list.push('mine')
    const run = (tx: typeof db) => {
      tx.data.n = 9
      throw undo
    }
    assert.equal(await untouched(at('db.json'), () => failing(() => db.transaction(run))), undo)
    assert.deepEqual(db.data, { n: 0, list: ['mine'] })
    await db.write()
    assert.deepEqual(fileOf(at('db.json')), { n: 0, list: ['mine'] })
  })

  it('a view is of one state and cannot be changed; unsaved edits are seen and stay unsaved', async () => {
    const db = open()
    await db.write()
    db.data.n = 3
    await untouched(at('db.json'), () =>
      db.view(async (tx) => {
        assert.equal(tx.data.n, 3)
        // @ts-expect-error the data are read-only
        assert.throws(() => tx.data.list.push('x'), TypeError)
        // @ts-expect-error the same
        assert.throws(() => (tx.data = START), TransactionError)
        const store = tx as unknown as typeof db
        for (const run of [() => store.write(), () => store.update(() => {}), () => db.transaction(() => {})])
          assert.ok((await failing(run)) instanceof TransactionError)
      }),
    )
    assert.equal(db.data.n, 3)
  })

  for (const kind of ['async', 'sync'] as const) {
    describe(`on a full disk (${kind})`, () => {
      const disk = useSmallDisk(at)

      it('a commit that does not fit leaves file and memory as before', async () => {
        const db =
          kind === 'async' ? new LockedLow(disk('db.json'), START) : new LockedLowSync(disk('db.json'), START)
        await db.update((data) => void data.n++)
        fillUp(disk('ballast'))
        const grow = (tx: { data: Data }) => void tx.data.list.push('x'.repeat(20_000))
        const error = await untouched(disk('db.json'), () => failing(() => db.transaction(grow)))
        assert.ok(error instanceof StoreIoError, `${error}`)
        assert.equal((error.cause as NodeJS.ErrnoException).code, 'ENOSPC')
        assert.deepEqual(db.data, { n: 1, list: [] })
      })
    })
  }
})

describe('LockedLowSync transactions', () => {
  const at = useFolder()
  const open = () => new LockedLowSync<Data>(at('db.json'), START)

  it('are all or nothing, with savepoints, and give the value of the callback', () => {
    const db = open()
    const value = db.transaction((tx) => {
      tx.data.n = 1
      tx.update(({ list }) => list.push('a'))
      assert.throws(
        () =>
          db.transaction((inner) => {
            inner.data.list.push('lost')
            db.data.n = 7
            throw undo
          }),
        undo,
      )
      assert.deepEqual(db.data, { n: 1, list: ['a'] })
      return 'value'
    })
    assert.equal(value, 'value')
    assert.deepEqual(fileOf(at('db.json')), { n: 1, list: ['a'] })
    assert.throws(
      () =>
        db.transaction((tx) => {
          tx.data.n = 9
          throw undo
        }),
      undo,
    )
    assert.deepEqual(
      [db.data, fileOf(at('db.json'))],
      [
        { n: 1, list: ['a'] },
        { n: 1, list: ['a'] },
      ],
    )
  })

  it('a view is of one state; rollbackAfter leaves no trace; a promise is refused', async () => {
    const db = open()
    db.write()
    await untouched(at('db.json'), () => {
      const value = db.rollbackAfter((tx) => {
        db.transaction((inner) => void inner.data.n++)
        db.update((data) => void data.n++)
        return tx.data.n
      })
      assert.equal(value, 2)
      assert.throws(
        () =>
          db.rollbackAfter(() => {
            throw undo
          }),
        undo,
      )
      assert.throws(() => db.transaction(async () => {}), TypeError)
      assert.throws(() => db.rollbackAfter(async (tx) => void tx.data.n++), TypeError)
    })
    assert.deepEqual(db.data, START)
    db.view((tx) => {
      foreignWrite(at('db.json'), { n: 8, list: [] })
      assert.equal(tx.data.n, 0)
      assert.throws(() => db.update(() => {}), TransactionError)
      // @ts-expect-error the data are read-only
      assert.throws(() => (tx.data = START), TransactionError)
    })
    assert.equal(
      db.view((tx) => tx.data.n),
      8,
    )
  })
})
