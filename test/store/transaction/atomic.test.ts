import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { useFolder } from '../../fixtures/folder.ts'
import { failing, untouched } from '../../fixtures/lowdb-tools.ts'
import { KINDS, openStore } from '../../fixtures/stores.ts'

/** All or nothing, on every kind of store. */
for (const kind of KINDS) {
  describe(`a transaction on ${kind}`, () => {
    const at = useFolder()
    const path = () => at('numbers.db')
    const open = async () => {
      const db = await openStore(kind, path())
      await db.insert('old', 1)
      return db
    }

    it('is all there when it has ended, and gives the value of the callback', async () => {
      const db = await open()
      const before = readFileSync(path(), 'latin1')
      const value = await db.transaction(async (tx) => {
        await tx.insert('a', 1)
        await tx.set('old', 2)
        await tx.insert('b', 3)
        assert.equal(readFileSync(path(), 'latin1'), before, 'nothing is written before the end')
        assert.deepEqual(await tx.names(), ['a', 'b', 'old'], 'it sees what it has done')
        return 'done'
      })
      assert.equal(value, 'done')
      const other = await openStore(kind, path())
      assert.deepEqual([await other.names(), await other.get('old')], [['a', 'b', 'old'], 2])
    })

    for (const [how, throwing] of [
      [
        'a throw',
        () => {
          throw new RangeError('mine')
        },
      ],
      ['a rejected promise', () => Promise.reject(new RangeError('mine'))],
      [
        'a late throw',
        async () => {
          await sleep(2)
          throw new RangeError('mine')
        },
      ],
    ] as const) {
      it(`${how} leaves file and memory as before, and comes through untouched`, async () => {
        const db = await open()
        const error = await untouched(path(), () =>
          failing(() =>
            db.transaction(async (tx) => {
              await tx.insert('a', 1)
              await tx.set('old', 2)
              await throwing()
            }),
          ),
        )
        assert.ok(error instanceof RangeError && error.message === 'mine' && error.cause === undefined)
        assert.deepEqual(db.memory(), ['old'])
        assert.equal(await db.get('old'), 1)
        await db.insert('a', 7)
        assert.equal(await (await openStore(kind, path())).get('a'), 7, 'the name is free again')
      })
    }

    it('an error that is caught inside undoes the call that threw it and nothing else', async () => {
      const db = await open()
      await db.transaction(async (tx) => {
        await tx.insert('a', 1)
        await assert.rejects(tx.insert('a', 2))
        await tx.insert('b', 1)
      })
      assert.deepEqual(await (await openStore(kind, path())).names(), ['a', 'b', 'old'])
      assert.equal(await db.get('a'), 1)
    })

    it('an abort while it runs undoes it, with the reason of the signal', async () => {
      const db = await open()
      const controller = new AbortController()
      const reason = new Error('enough')
      const error = await untouched(path(), () =>
        failing(() =>
          db.transaction(
            async (tx) => {
              await tx.insert('a', 1)
              controller.abort(reason)
              await tx.insert('b', 1)
            },
            { signal: controller.signal },
          ),
        ),
      )
      assert.equal(error, reason)
      assert.deepEqual(db.memory(), ['old'])
    })

    it('savepoints inside one another: each throw undoes its own part', async () => {
      const db = await open()
      const inner = new Error('inner')
      await db.transaction(async (tx) => {
        await tx.insert('1', 1)
        await db.transaction(async (second) => {
          await second.insert('2', 2)
          const thrown = await failing(() =>
            db.transaction(async (third) => {
              await third.insert('3', 3)
              await third.set('old', 3)
              await db.transaction((fourth) => fourth.insert('4', 4))
              assert.deepEqual(await third.names(), ['1', '2', '3', '4', 'old'])
              throw inner
            }),
          )
          assert.equal(thrown, inner)
          assert.deepEqual(await second.names(), ['1', '2', 'old'])
          await second.insert('3', 33)
        })
        await failing(() =>
          db.transaction(async (second) => {
            await second.insert('5', 5)
            throw inner
          }),
        )
      })
      const other = await openStore(kind, path())
      assert.deepEqual(await other.names(), ['1', '2', '3', 'old'])
      assert.deepEqual([await other.get('old'), await other.get('3')], [1, 33])
    })

    it('a savepoint that ended well is undone with what it was part of', async () => {
      const db = await open()
      await untouched(path(), () =>
        failing(() =>
          db.transaction(async () => {
            await db.transaction((tx) => tx.insert('a', 1))
            throw new Error('outer')
          }),
        ),
      )
      assert.deepEqual([db.memory(), await db.names()], [['old'], ['old']])
    })

    it('rollbackAfter leaves no trace, gives the value, and passes on what is thrown', async () => {
      const db = await open()
      await untouched(path(), async () => {
        const value = await db.rollbackAfter(async () => {
          await db.insert('a', 1)
          await db.transaction((tx) => tx.set('old', 9))
          await failing(() =>
            db.transaction(async (tx) => {
              await tx.insert('b', 1)
              throw new Error('b')
            }),
          )
          assert.deepEqual([await db.names(), await db.get('old')], [['a', 'old'], 9])
          return 'value'
        })
        assert.equal(value, 'value')
        const failed = new assert.AssertionError({ message: 'a test that fails' })
        const error = await failing(() =>
          db.rollbackAfter(async () => {
            await db.insert('a', 1)
            throw failed
          }),
        )
        assert.equal(error, failed)
      })
      assert.deepEqual([db.memory(), await db.get('old')], [['old'], 1])
      await db.insert('a', 1)
    })

    it('a transaction with nothing to write does not touch the file; wrong arguments are TypeErrors', async () => {
      const db = await open()
      await untouched(path(), () => db.transaction((tx) => tx.names()))
      const wrong: unknown[][] = [[undefined], [7], [() => {}, { retry: -1 }], [() => {}, { timeoutMs: 'x' }]]
      for (const args of wrong)
        await assert.rejects(db.transaction(...(args as [() => void])), TypeError, String(args))
    })
  })
}
