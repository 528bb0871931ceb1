import assert from 'node:assert/strict'
import { setTimeout as sleep } from 'node:timers/promises'
import { ClosedError, LockTimeoutError, LockUpgradeError } from '../../src/errors.ts'
import { LockTree } from '../../src/lock-tree/lock-tree.ts'
import { pathOf } from '../../src/lock-tree/request.ts'
import { isInTheWay } from '../../src/lock-tree/tree-holders.ts'
import { useCrew } from '../fixtures/crew.ts'
import { useFolder } from '../fixtures/folder.ts'
import { newSeed, note, random } from '../fixtures/random.ts'
import { skipWithoutRangeLocks } from '../fixtures/range-locks.ts'

describe('LockTree: holds inside holds', () => {
  skipWithoutRangeLocks()
  const crew = useCrew()
  const at = useFolder()
  const patience = { timeoutMs: 0 }

  it('what an enclosing hold has is entered, at the same name, below and above, through any LockTree', async () => {
    const tree = new LockTree(at('db'), patience)
    const same = new LockTree(at('db.locktree'), patience)
    const order: string[] = []
    await tree.exclusive('app/orders', async () => {
      await same.exclusive('app/orders', () => order.push('the same'))
      await same.exclusive('app/orders/price', async () => {
        order.push('below')
        await tree.shared('app/orders/price', () => order.push('weaker'))
        await tree.exclusive('app/customers', () => order.push('beside'))
      })
      await tree.shared('app', () => order.push('above'))
    })
    assert.deepEqual(order, ['the same', 'below', 'weaker', 'beside', 'above'])
    assert.deepEqual(tree.holders(), [])
  })

  it('two tasks, and two calls beside each other inside one hold, exclude each other', async () => {
    const tree = new LockTree(at('db'))
    let inside = 0
    let most = 0
    const work = async () => {
      most = Math.max(most, ++inside)
      await sleep(5)
      inside--
    }
    const twice = (name: string, other = name) =>
      Promise.all([tree.exclusive(name, work), tree.exclusive(other, work)])
    await twice('app/orders')
    await tree.exclusive('app/orders', async () => {
      await twice('app/orders')
      await twice('app/orders/price')
      await twice('app/orders', 'app/orders/price')
      await tree.exclusive('app/orders', () => twice('app/orders/price', 'app/orders'))
    })
    assert.equal(most, 1)
    await tree.exclusive('app/orders', () => twice('app/orders/price', 'app/orders/amount'))
    assert.equal(most, 2)
  })

  it('an edit inside a snapshot of the whole makes the outer hold stronger, as long as it lasts', async () => {
    const mate = await crew.process()
    const tree = new LockTree(at('db'), patience)
    const read = () => mate.call('treeTry', at('db'), 'app', { mode: 'shared' })
    await tree.shared('app', async () => {
      await tree.exclusive('app/orders', async () => {
        assert.equal(await read(), false)
        assert.equal(await mate.call('treeTry', at('db'), 'app/customers', { mode: 'shared' }), true)
        await mate.call('treeRelease', 'app/customers')
      })
      assert.equal(await mate.call('treeTry', at('db'), 'app/orders'), false)
      assert.equal(await read(), true)
      await mate.call('treeRelease', 'app')
    })
    assert.equal(await mate.call('treeTry', at('db'), 'app'), true)
  })

  for (const mode of ['intent-shared', 'intent-exclusive', 'shared', 'shared-intent-exclusive'] as const) {
    it(`${mode} made exclusive and weak again is what it was`, async () => {
      const mate = await crew.process()
      const tree = new LockTree(at('db'), patience)
      const seen = async () => {
        const got: boolean[] = []
        for (const asked of ['intent-shared', 'intent-exclusive', 'shared', 'exclusive'] as const) {
          got.push(await mate.call('treeTry', at('db'), 'app', { mode: asked }))
          await mate.call('treeRelease', 'app')
        }
        return got
      }
      const held = await tree.acquire('app', { mode })
      const before = await seen()
      await held.run(async () => {
        await tree.exclusive('app', async () => assert.deepEqual(await seen(), [false, false, false, false]))
        assert.deepEqual(await seen(), before)
        await tree.exclusive('app', async () => tree.exclusive('app', () => {}))
      })
      assert.deepEqual(await seen(), before)
      held.release()
      assert.deepEqual(await seen(), [true, true, true, true])
    })
  }

  it('an outer hold that cannot be made stronger at once is a LockUpgradeError, not a wait', async () => {
    const mate = await crew.process()
    const reason = 'another snapshot'
    await mate.call('treeAcquire', at('db'), 'app', { mode: 'shared', reason })
    const tree = new LockTree(at('db'), { timeoutMs: 20_000 })
    await tree.shared('app', async () => {
      const edit = tree.exclusive('app/orders', () => assert.fail('it ran'))
      await assert.rejects(edit, (error) => {
        assert.ok(error instanceof LockUpgradeError)
        assert.match(error.message, /'another snapshot' by pid/)
        assert.match(error.message, /shared-intent-exclusive/)
        return true
      })
      assert.equal(await mate.call('treeTry', at('db'), 'app/orders', { mode: 'shared' }), true)
      assert.equal(await tree.shared('app/orders', () => 'still there'), 'still there')
    })
    assert.equal(tree.holders().length, 2, 'the two of the mate')
  })

  it('a hold lasts until what was begun inside it has ended; what begins later is a newcomer', async () => {
    const tree = new LockTree(at('db'))
    const order: string[] = []
    let inner: Promise<unknown> = Promise.resolve()
    let late: Promise<unknown> = Promise.resolve()
    await tree.exclusive('app', () => {
      inner = tree.exclusive('app/orders', async () => {
        await sleep(80)
        order.push('inner')
      })
      setTimeout(() => {
        late = tree.exclusive('app', () => order.push('late'))
      }, 30)
    })
    assert.deepEqual(order, ['inner'], 'the outer call waited for the inner one')
    await inner
    await late
    assert.deepEqual(order, ['inner', 'late'])
    assert.deepEqual(tree.holders(), [])
  })

  it('acquire is not re-entrant; held.run is, until its release', async () => {
    const tree = new LockTree(at('db'), patience)
    const held = await tree.acquire('app/orders')
    await assert.rejects(
      tree.exclusive('app/orders/price', () => {}),
      LockTimeoutError,
    )
    assert.equal(await held.run(() => tree.exclusive('app/orders/price', () => 'in')), 'in')
    const running = held.run(async () => {
      await sleep(30)
      return tree.tryAcquire('app/orders') === undefined
    })
    held.release()
    held.release()
    assert.equal(await running, true, 'the release waited for the run')
    await assert.rejects(
      held.run(() => {}),
      ClosedError,
    )
    using again = await tree.acquire('app/orders')
    assert.equal(again.name, 'app/orders')
  })

  it('a throw, also of a nested call, gives everything back', async () => {
    const tree = new LockTree(at('db'), patience)
    const failure = new Error('no')
    const outer = tree.shared('app', () =>
      tree.exclusive('app/orders', () => {
        throw failure
      }),
    )
    await assert.rejects(outer, (error) => error === failure)
    tree.tryAcquire('app')!.release()
    assert.deepEqual(tree.holders(), [])
  })

  it('close waits for the holds, then refuses', async () => {
    const tree = new LockTree(at('db'))
    const held = await tree.acquire('app')
    let isClosed = false
    const closing = tree.close().then(() => {
      isClosed = true
    })
    await sleep(20)
    assert.equal(isClosed, false)
    held.release()
    await closing
    await assert.rejects(
      tree.exclusive('app', () => {}),
      ClosedError,
    )
    assert.throws(() => tree.tryAcquire('app'), ClosedError)
    assert.ok(tree.path.endsWith('db.locktree'))
  })

  it('tasks that nest at random never meet where the table forbids it, and leave nothing', async () => {
    const seed = newSeed()
    const next = random(seed)
    const pick = <T>(items: readonly T[]): T => items[Math.floor(next() * items.length)] as T
    const names = ['app', 'app/a', 'app/a/x', 'app/a/y', 'app/b', 'app/b#op']
    const trees = [new LockTree(at('db')), new LockTree(at('db'))]
    const inside = new Set<Entered>()
    const seen = { entered: 0, beside: 0, refused: 0, violations: [] as string[] }
    const enter = async (depth: number, outer: readonly Entered[]): Promise<void> => {
      const [name, mode] = [pick(names), pick(['shared', 'exclusive'] as const)]
      const run = async () => {
        const own = { name, mode }
        for (const other of inside) {
          if (outer.includes(other)) continue
          seen.beside++
          if (isInTheWay(other, pathOf(name), mode)) seen.violations.push(JSON.stringify([own, other, outer]))
        }
        inside.add(own)
        seen.entered++
        if (next() < 0.6) await sleep(next() * 3)
        const chain = [...outer, own]
        const nested = depth < 3 && next() < 0.7 ? 1 + Math.floor(next() * 2) : 0
        // Never throws: what is refused inside is counted, and the rest goes on.
        await Promise.all(Array.from({ length: nested }, () => enter(depth + 1, chain)))
        inside.delete(own)
      }
      await pick(trees)
        [mode](name, run, { timeoutMs: 60 })
        .catch((error) => {
          if (!(error instanceof LockTimeoutError || error instanceof LockUpgradeError)) throw error
          seen.refused++
        })
    }
    const end = performance.now() + 2000
    const task = async () => {
      while (performance.now() < end) await enter(0, [])
    }
    await Promise.all(Array.from({ length: 6 }, task))
    note(`seed ${seed}: entered ${seen.entered}, beside others ${seen.beside}, refused ${seen.refused}`)
    assert.deepEqual(seen.violations, [])
    assert.ok(seen.entered > 100 && seen.beside > 50 && seen.refused > 0, 'there was contention')
    const tree = new LockTree(at('db'))
    assert.deepEqual(tree.holders(), [])
    tree.tryAcquire('app')!.release()
  })
})

interface Entered {
  readonly name: string
  readonly mode: 'shared' | 'exclusive'
}
