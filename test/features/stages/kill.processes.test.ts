import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { cpSync, mkdirSync } from 'node:fs'
import { text } from 'node:stream/consumers'
import { inParallel, underSeam, useLab } from '../../fixtures/faults/lab.ts'
import { warnings } from '../../fixtures/nedb-tools.ts'
import {
  type GoodsStore,
  STAGED_KINDS,
  type StagedGoods,
  type StagedKind,
} from '../../fixtures/staged-stores.ts'

const KINDS = ['nedb', 'lowdb', 'lowdb with a journal', 'a table in nedb']
/** Real kills of each kind; the copies of one run show what a kill leaves at every other point. */
const KILLS = 12

const pear = { _id: 'pear', price: 3 }

/** Of a commit that was killed, before or after each of its system calls and in the middle of a write. */
describe('a commit of a stage that is killed', () => {
  const at = useLab()
  warnings()

  for (const name of KINDS) {
    it(`${name}: is done or not, whatever others write before anybody looks`, async function () {
      this.timeout(120_000)
      const { open } = STAGED_KINDS.find((kind) => kind.name === name) as StagedKind
      const folder = (part: string) => at(`${name} ${part}`)
      mkdirSync(folder('begun'))
      mkdirSync(folder('copies'))
      const begun = await open(`${folder('begun')}/store`)
      await begun.insert({ _id: 'apple', price: 10 })
      await begun.insert(pear)
      const stage = await begun.stage('session')
      await stage.set('apple', { price: 11 })
      await stage.insert({ _id: 'plum', price: 7 })
      await stage.remove('pear')
      await begun.close()

      const begin = (place: string) => cpSync(folder('begun'), folder(place), { recursive: true })
      const run = async (place: string, what: string) => {
        const args = underSeam('stage-commit', folder(place), name, what)
        const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] })
        const exit = once(child, 'exit')
        const said = await text(child.stdout)
        const [, signal] = await exit
        return { said, signal }
      }
      const found = { committed: 0, open: 0, marked: 0, lookedAtMarked: 0 }
      // Somebody who has the stage open all the while looks at it first.
      const look = async (store: GoodsStore, tab: StagedGoods) => {
        const isMarked = (await marks(store.db)) > 0
        const isDone = (await store.all()).plum !== undefined
        if (isMarked) found.lookedAtMarked++
        for (const see of [() => tab.all(), () => tab.check()]) {
          if (isDone) await assert.rejects(see, { code: 'PSLOCK_CLOSED', message: /committed/ })
          else await see()
        }
      }
      const judge = async (place: string, isAcknowledged: boolean) => {
        const store = await open(`${place}/store`)
        // A foreign write of the same value, before anybody looks at the stages.
        await store.set('apple', { price: 99 })
        const before = await store.all()
        const isDone = before.plum !== undefined
        assert.deepEqual(before, {
          apple: { _id: 'apple', price: 99 },
          ...(isDone ? { plum: { _id: 'plum', price: 7 } } : { pear }),
        })
        if (isAcknowledged) assert.ok(isDone, `${place}: acknowledged and gone`)
        if ((await marks(store.db)) > 0) found.marked++
        const [summary] = await store.db.stages.list()
        assert.equal(summary?.state, isDone ? 'committed' : 'open', place)
        found[isDone ? 'committed' : 'open']++
        if (!isDone) {
          const again = await store.stage('session')
          assert.equal((await again.check()).length, 1, place)
          await again.commit({ resolve: () => 'mine' })
        }
        const price = isDone ? 99 : 11
        assert.deepEqual(await store.all(), {
          apple: { _id: 'apple', price },
          plum: { _id: 'plum', price: 7 },
        })
        assert.equal(await marks(store.db), 0, place)
        assert.deepEqual((await store.db.stages.stats()).committed, 1)
        await store.close()
      }

      begin('counted')
      const { said, signal } = await run('counted', folder('copies'))
      assert.equal(signal, null, said)
      const { points, copies } = JSON.parse(said.slice(1)) as { points: number; copies: number }
      for (let copy = 1; copy <= copies; copy++) await judge(`${folder('copies')}/${copy}`, false)
      const calls = Math.floor(points / 2)
      const ats = Array.from({ length: KILLS }, (_, index) => 1 + Math.floor((index * calls) / KILLS / 1.3))
      let killed = 0
      await inParallel(ats, 2, async (number) => {
        begin(`kill ${number}`)
        const store = await open(`${folder(`kill ${number}`)}/store`)
        const tab = await store.stage('session')
        const end = await run(`kill ${number}`, JSON.stringify({ kill: 'after', at: number }))
        if (end.signal === 'SIGKILL') killed++
        await look(store, tab)
        await store.close()
        await judge(folder(`kill ${number}`), end.said.startsWith('.'))
      })
      console.log(
        `        ${copies} states at ${points} points, ${killed} real kills: ${JSON.stringify(found)}`,
      )
      assert.ok(killed >= KILLS / 2, 'the points are in the commit')
      assert.ok(
        Object.values(found).every((count) => count > 0),
        'all three were met',
      )
    })
  }
})

/** How many marks are in the store itself. */
async function marks(db: object): Promise<number> {
  if ('findAsync' in db) {
    const { findAsync } = db as { findAsync(query: object): Promise<unknown[]> }
    return (await findAsync.call(db, { _table: '$stages' })).length
  }
  const low = db as { read(): Promise<void>; data: Record<string, readonly unknown[] | undefined> }
  await low.read()
  return low.data.$stages?.length ?? 0
}
