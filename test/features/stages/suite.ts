import assert from 'node:assert/strict'
import { ClosedError, ConflictError, TransactionError } from '../../../src/index.ts'
import type { Good, GoodsStore, StagedGoods, StagedKind } from '../../fixtures/staged-stores.ts'

const apple = { _id: 'apple', price: 10, color: 'green', tags: ['a'], size: { w: 1, h: 2 } }
const pear = { _id: 'pear', price: 3 }
const plum = { _id: 'plum', price: 7 }

/** What stages promise, on any kind of store. @param at a new place in each test */
export function testStages({ name, open }: StagedKind, at: () => string): void {
  describe(`stages of ${name}`, () => {
    const opened: GoodsStore[] = []
    const openStore = async () => {
      const store = await open(at())
      opened.push(store)
      return store
    }
    let store: GoodsStore
    let stage: StagedGoods
    const realNow = Date.now
    beforeEach(async () => {
      store = await openStore()
      await store.insert(apple)
      await store.insert(pear)
      stage = await store.stage('session', { owner: 'ada' })
    })
    afterEach(async () => {
      Date.now = realNow
      await Promise.all(opened.splice(0).map((one) => one.close()))
    })
    const present = { apple, pear }
    const conflictOf = async (commit: Promise<void>) => {
      const error = await commit.then(
        () => assert.fail('it was committed'),
        (thrown) => thrown,
      )
      assert.ok(error instanceof ConflictError, String(error))
      return error.conflicts.map(({ path, base, mine, theirs }) => ({ path, base, mine, theirs }))
    }

    it('nobody else sees an edit before it is committed', async () => {
      const other = await openStore()
      await stage.set('apple', { price: 11 })
      await stage.insert(plum)
      await stage.remove('pear')
      const staged = { apple: { ...apple, price: 11 }, plum }
      assert.deepEqual(await stage.all(), staged)
      assert.deepEqual(await store.all(), present)
      assert.deepEqual(await other.all(), present)
      await stage.commit()
      assert.deepEqual(await other.all(), staged)
      assert.deepEqual(await store.all(), staged)
      assert.deepEqual(await store.db.stages.stats(), {
        ...{ open: 0, committed: 1, cancelled: 0, expired: 0, discardedEdits: 0, reasons: {} },
      })
    })

    it('another store object goes on with it', async () => {
      await stage.set('apple', { price: 11 })
      const other = await (await openStore()).stage('session')
      assert.equal(other.at, stage.at)
      await other.set('apple', { color: 'red' })
      assert.deepEqual((await other.all()).apple, { ...apple, price: 11, color: 'red' })
      await other.undo()
      await other.commit()
      assert.deepEqual(await store.all(), { ...present, apple: { ...apple, price: 11 } })
    })

    it('what others change elsewhere is merged, and seen', async () => {
      await stage.set('apple', { price: 11 })
      await stage.set('apple', { size: { w: 5, h: 2 } })
      await store.set('apple', { color: 'red' })
      await store.set('pear', { price: 4 })
      const merged = {
        apple: { ...apple, price: 11, color: 'red', size: { w: 5, h: 2 } },
        pear: { ...pear, price: 4 },
      }
      assert.deepEqual(await stage.all(), merged)
      assert.deepEqual(await stage.check(), [])
      await stage.set('pear', { price: 5 })
      await stage.commit()
      assert.deepEqual(await store.all(), { ...merged, pear: { ...pear, price: 5 } })
    })

    it('what both change is a conflict, even to the same value: nothing is written, and it stays open', async () => {
      await stage.set('apple', { price: 11 })
      await stage.insert(plum)
      await store.set('apple', { price: 11 })
      const conflicts = await conflictOf(stage.commit())
      const path = conflicts[0]!.path
      assert.match(path, /price$/)
      assert.deepEqual(conflicts, [{ path, base: 10, mine: 11, theirs: 11 }])
      assert.deepEqual(
        (await stage.check()).map(({ base, mine, theirs }) => [base, mine, theirs]),
        [[10, 11, 11]],
      )
      assert.deepEqual(await store.all(), { ...present, apple: { ...apple, price: 11 } })
      assert.equal((await store.db.stages.list({ state: 'open' })).length, 1)
      await stage.set('apple', { price: 12 })
      assert.deepEqual(await conflictOf(stage.commit()), [{ path, base: 10, mine: 12, theirs: 11 }])
    })

    for (const [resolution, price] of [
      ['mine', 12],
      ['theirs', 20],
      [{ value: 16 }, 16],
    ] as const) {
      it(`a conflict is resolved as ${JSON.stringify(resolution)}`, async () => {
        await stage.set('apple', { price: 12 })
        await stage.set('apple', { color: 'red' })
        await store.set('apple', { price: 20 })
        await stage.commit({ resolve: ({ path }) => (path.endsWith('price') ? resolution : undefined) })
        assert.deepEqual((await store.all()).apple, { ...apple, price, color: 'red' })
      })
    }

    it('a record that others removed is one conflict about all of it', async () => {
      await stage.set('apple', { price: 12 })
      await stage.set('apple', { color: 'red' })
      await store.remove('apple')
      const [conflict, ...more] = await conflictOf(stage.commit())
      assert.deepEqual(more, [])
      assert.equal(conflict!.theirs, undefined)
      await stage.commit({ resolve: () => 'mine' })
      assert.deepEqual((await store.all()).apple, { ...apple, price: 12, color: 'red' })
    })

    it('a record that is removed here and changed there is a conflict; removed by both it is none', async () => {
      await stage.remove('apple')
      await stage.remove('pear')
      await store.set('apple', { price: 1 })
      await store.remove('pear')
      assert.equal((await conflictOf(stage.commit())).length, 1)
      await stage.commit({ resolve: () => 'mine' })
      assert.deepEqual(await store.all(), {})
    })

    it('a record that is removed and inserted again is merged like any other', async () => {
      if (name.includes('table')) return // There it is another record.
      await stage.remove('apple')
      await stage.insert({ ...apple, price: 12 })
      await store.set('apple', { color: 'red' })
      await stage.commit()
      assert.deepEqual((await store.all()).apple, { ...apple, price: 12, color: 'red' })
    })

    it('both add to a list', async () => {
      await stage.set('apple', { tags: ['a', 'mine'] })
      await store.set('apple', { tags: ['a', 'theirs'] })
      assert.deepEqual((await stage.all()).apple?.tags, ['a', 'theirs', 'mine'])
      await stage.set('apple', { tags: ['a', 'theirs', 'mine', 'more'] })
      await stage.commit()
      assert.deepEqual((await store.all()).apple?.tags, ['a', 'theirs', 'mine', 'more'])
    })

    it('fields within fields are merged one by one', async () => {
      await stage.set('apple', { size: { w: 9, h: 2 } })
      await store.set('apple', { size: { w: 1, h: 8 } })
      await stage.commit()
      assert.deepEqual((await store.all()).apple?.size, { w: 9, h: 8 })
    })

    it('undo and redo move through the edits; an edit behind an undo drops the rest', async () => {
      await stage.set('apple', { price: 1 })
      await stage.set('apple', { price: 2 })
      await stage.insert(plum)
      assert.equal(await stage.undo(2), 2)
      assert.equal((await stage.all()).apple?.price, 1)
      assert.equal(await stage.redo(), 1)
      assert.equal((await stage.all()).apple?.price, 2)
      assert.deepEqual(
        (await stage.edits()).map(({ isUndone }) => isUndone),
        [false, false, true],
      )
      await stage.remove('pear')
      assert.equal(await stage.redo(), 0)
      assert.equal(await stage.undo(9), 3)
      assert.deepEqual(await stage.all(), present)
      assert.equal(await stage.redo(9), 3)
      assert.deepEqual(await stage.all(), { apple: { ...apple, price: 2 } })
      await stage.undo(2)
      await stage.set('apple', { price: 9 })
      assert.deepEqual([await stage.redo(9), (await stage.edits()).length], [0, 2])
      assert.deepEqual(await stage.all(), { ...present, apple: { ...apple, price: 9 } })
    })

    it('the slower of two tabs is told, and changes nothing', async () => {
      const tab = await store.stage('session')
      await stage.set('apple', { price: 1 })
      for (const change of [
        () => tab.set('apple', { price: 2 }),
        () => tab.undo(),
        () => tab.commit(),
        () => tab.cancel(),
      ])
        await assert.rejects(change(), ConflictError)
      const form = await store.stage('session', { at: 0 })
      await assert.rejects(form.set('apple', { price: 2 }), { expected: 0, found: 1 })
      assert.equal((await stage.all()).apple?.price, 1)
      await stage.set('apple', { price: 3 })
    })

    it('a stage that has ended is over, and its id begins a new one', async () => {
      await stage.set('apple', { price: 1 })
      const tab = await store.stage('session')
      await stage.cancel('too dear')
      for (const use of [
        () => stage.all(),
        () => stage.set('apple', {}),
        () => stage.commit(),
        () => tab.undo(),
      ])
        await assert.rejects(use(), ClosedError)
      assert.deepEqual(await store.all(), present)
      const next = await store.stage('session')
      assert.deepEqual([next.at, await next.edits()], [2, []])
      await next.set('apple', { price: 5 })
      await next.commit()
      assert.equal((await store.all()).apple?.price, 5)
      assert.deepEqual(await store.db.stages.stats(), {
        ...{ open: 0, committed: 1, cancelled: 1, expired: 0, discardedEdits: 1, reasons: { 'too dear': 1 } },
      })
    })

    it('it expires when it was not changed for so long, and is forgotten 7 days later', async () => {
      let now = realNow()
      Date.now = () => now
      stage = await store.stage('session', { expiresMs: 1000 })
      await stage.set('apple', { price: 1 })
      now += 900
      await stage.set('apple', { price: 2 })
      now += 900
      assert.equal((await stage.all()).apple?.price, 2)
      now += 200
      await assert.rejects(stage.all(), ClosedError)
      await assert.rejects(stage.commit(), ClosedError)
      assert.equal((await store.stage('session')).at, 3)
      assert.deepEqual(
        (await store.db.stages.list()).map(({ state, edits, endsAt }) => [state, edits, endsAt.getTime()]),
        [['expired', 2, now - 100]],
      )
      now += 7 * 24 * 60 * 60_000
      assert.deepEqual(await store.db.stages.list(), [])
      assert.deepEqual(await store.all(), present)
    })

    it('a throw of validate leaves all as it was; it sees what will be written, and what it writes is written, too', async () => {
      await stage.set('apple', { price: 1 })
      const seen: Record<string, Good>[] = []
      const validate = async () => {
        seen.push(await store.all())
        throw new RangeError('too cheap')
      }
      await assert.rejects(stage.commit({ validate }), RangeError)
      assert.equal(seen[0]?.apple?.price, 1)
      assert.deepEqual(await store.all(), present)
      await stage.set('apple', { price: 2 })
      await stage.commit({ validate: () => store.set('pear', { price: 9 }) })
      assert.deepEqual(await store.all(), { apple: { ...apple, price: 2 }, pear: { ...pear, price: 9 } })
    })

    it('a look inside its own edit, view or validate sees the edits once', async () => {
      await stage.set('apple', { tags: ['a', 'b'] })
      const again = await store.stage('session')
      const look = async () => {
        const seen = { ...present, apple: { ...apple, tags: ['a', 'b'] } }
        assert.deepEqual(await stage.all(), seen)
        assert.deepEqual(await again.all(), seen)
        await assert.rejects(stage.check(), TransactionError)
      }
      let later: Promise<unknown> | undefined
      await stage.view(async () => {
        await look()
        later = new Promise((resolve) => setTimeout(resolve, 50)).then(() => stage.all())
      })
      assert.deepEqual(await later, { ...present, apple: { ...apple, tags: ['a', 'b'] } })
      await stage.edit(() => look())
      await stage.commit({ validate: () => look() })
      assert.deepEqual(await store.all(), { ...present, apple: { ...apple, tags: ['a', 'b'] } })
    })

    it('an edit that throws is none', async () => {
      await stage.set('apple', { price: 1 })
      await assert.rejects(stage.set('nobody', { price: 1 }))
      assert.deepEqual([(await stage.edits()).length, stage.at], [1, 1])
      await stage.set('apple', { price: 1 })
      assert.equal((await stage.edits()).length, name.includes('table') ? 2 : 1)
    })

    it('it is refused inside a transaction, which could not undo it', async () => {
      await stage.set('apple', { price: 1 })
      await store.db.transaction(async () => {
        for (const call of [
          () => stage.set('apple', { price: 2 }),
          () => stage.undo(),
          () => stage.commit(),
          () => stage.cancel(),
          () => store.stage('other'),
          () => store.db.stages.list(),
        ])
          await assert.rejects(call(), { code: 'PSLOCK_TRANSACTION' })
      })
    })

    it('stages of several sessions are merged one after the other', async () => {
      const other = await store.stage('other')
      await stage.set('apple', { price: 1 })
      await other.set('apple', { color: 'red' })
      await other.set('pear', { price: 8 })
      await stage.commit()
      await other.commit()
      assert.deepEqual(await store.all(), {
        apple: { ...apple, price: 1, color: 'red' },
        pear: { ...pear, price: 8 },
      })
    })
  })
}
