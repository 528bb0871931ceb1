import assert from 'node:assert/strict'
import { LockedLow, type LockedLowSync } from '../../adapters/lowdb.ts'
import type { LockedNedb } from '../../adapters/nedb.ts'
import type { LockedDatastore } from '../../adapters/nedb-promises.ts'
import type { StageConflict } from '../../src/index.ts'

interface Doc {
  _id: string
  n: number
}

/** What the compiler says of stages; here nothing is run. */
const calls = {
  nedb: async (db: LockedNedb<Doc>) => {
    const stage = await db.stage('s', { owner: 'ada', expiresMs: 5, at: 1 })
    const numbers: number[] = (await stage.find({})).map(({ n }) => n)
    const one: number | undefined = (await stage.findOne({ _id: 'a' }))?.n
    const count: number = await stage.count({})
    const undone: number = await stage.undo(3)
    const five: number = await stage.edit(async (tx) => (await tx.countAsync({})) + 5)
    await stage.commit({
      resolve: ({ id, path, base, mine, theirs }) =>
        path === 'n' ? { value: [id, base, mine, theirs] } : 'mine',
      validate: async (tx) => void (await tx.insertAsync({ _id: 'a', n: 1 })),
    })
    const [{ state, endsAt } = {} as never] = await db.stages.list({ state: 'open', owner: 'ada' })
    const time: number = endsAt.getTime()
    // @ts-expect-error
    await db.stage('s', { expires: 5 })
    // @ts-expect-error
    await db.stage()
    // @ts-expect-error
    await stage.insert({ _id: 'a', n: 'one' })
    // @ts-expect-error
    await stage.commit({ resolve: () => 'yours' })
    // @ts-expect-error
    await db.stages.list({ state: 'closed' })
    // @ts-expect-error
    stage.ensureIndex({ fieldName: 'n' })
    // @ts-expect-error
    stage.at = 5
    // @ts-expect-error
    await db.view((tx) => tx.stage('s'))
    return [numbers, one, count, undone, five, state, time]
  },
  promises: async (db: LockedDatastore<Doc>) => {
    const stage = await db.stage('s')
    const numbers: number[] = (await stage.find({})).map(({ n }) => n)
    const count: number = await stage.count({ n: 1 })
    await stage.view((tx) => tx.find({}).sort({ n: 1 }))
    return [numbers, count]
  },
  low: async (db: LockedLow<{ n: number }>) => {
    const stage = await db.stage('s')
    await stage.update((data) => {
      data.n++
    })
    const n: number = (await stage.read()).n
    // @ts-expect-error
    await stage.update((data) => data.m)
    // @ts-expect-error
    await stage.find({})
    return n
  },
  // @ts-expect-error
  sync: (db: LockedLowSync<{ n: number }>) => db.stage('s'),
  derived: () => {
    class Settings extends LockedLow<{ n: number }> {
      own = 5
    }
    return async (db: Settings) => (await db.stage('s')).edit((tx) => tx.own + tx.data.n)
  },
  conflict: (conflict: StageConflict) => {
    // @ts-expect-error
    conflict.path = ''
  },
}

describe('stages, in types', () => {
  it('are as the compiler says', () => {
    assert.equal(Object.keys(calls).length, 6)
  })
})
