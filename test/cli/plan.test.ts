import assert from 'node:assert/strict'
import { insertedNumbers } from '../../cli/stress/operation.ts'
import { operationsOf, planOf, thinkTimes } from '../../cli/stress/plan.ts'

describe('the plan of a stress run', () => {
  const options = { seed: 7, store: 'nedb', ops: 300 } as const

  it('is the same for the same seed', () => {
    assert.deepEqual(planOf(3, options), planOf(3, options))
    const [one, two] = [thinkTimes(3, 7, 5), thinkTimes(3, 7, 5)]
    for (let index = 0; index < 10; index++) assert.equal(one(), two())
  })

  it('differs by seed and by worker', () => {
    assert.notDeepEqual(planOf(3, options), planOf(3, { ...options, seed: 8 }))
    assert.notDeepEqual(planOf(3, options), planOf(4, options))
  })

  it('has every kind of operation, and sizes on both sides of a 4096 byte block', () => {
    const plan = planOf(0, options)
    assert.equal(plan.length, 300)
    assert.deepEqual(
      [...new Set(plan.map(({ kind }) => kind))].sort(),
      (
        'claim compareAndSet delete deleteKey increment insert insertKey insertMany readCount readCounter readKey ' +
        'readRecord readRegister update writeRegister'
      ).split(' '),
    )
    const lengths = plan.flatMap((operation) => (operation.kind === 'insert' ? [operation.length] : []))
    assert.ok(Math.min(...lengths) < 100 && Math.max(...lengths) > 4096)
    assert.ok(plan.every((operation) => !('bare' in operation)))
  })

  it('lets every worker try the same unique keys, in its own order', () => {
    const keys = (worker: number) =>
      planOf(worker, options).flatMap((operation) => (operation.kind === 'claim' ? [operation.key] : []))
    assert.notDeepEqual(keys(0), keys(1))
    const common = keys(0).filter((key) => keys(1).includes(key))
    assert.ok(common.length > keys(0).length / 2)
  })

  it('goes on for ever if it is to, and no worker ever has many records', () => {
    const live = new Set<number>()
    let most = 0
    let taken = 0
    for (const operation of operationsOf(0, { ...options, ops: Number.POSITIVE_INFINITY })) {
      if (operation.kind === 'delete') live.delete(operation.n)
      for (const n of insertedNumbers(operation)) live.add(n)
      most = Math.max(most, live.size)
      if (taken++ === 20_000) break
    }
    assert.ok(most > 100 && most < 200, `${most} records`)
  })

  it('never writes the same value twice, whoever writes it', () => {
    const values = [0, 1, 2].flatMap((worker) =>
      planOf(worker, options).flatMap((operation) =>
        operation.kind === 'compareAndSet' ? operation.to : 'value' in operation ? operation.value : [],
      ),
    )
    assert.ok(values.length > 50)
    assert.equal(new Set(values).size, values.length)
  })

  it('uses both idioms of lowdb', () => {
    const plan = planOf(0, { ...options, store: 'lowdb' })
    for (const kind of ['insert', 'update', 'increment']) {
      const bare = plan.filter((operation) => operation.kind === kind).map((o) => 'bare' in o && o.bare)
      assert.ok(bare.includes(true) && bare.includes(false), kind)
    }
  })
})
