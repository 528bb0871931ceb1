import assert from 'node:assert/strict'
import { mkdirSync, readdirSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { LockTimeoutError } from '../../src/errors.ts'
import { LockTree } from '../../src/lock-tree/lock-tree.ts'
import { useCrew } from '../fixtures/crew.ts'
import { staysPending, until, useFolder } from '../fixtures/folder.ts'
import { newSeed, note } from '../fixtures/random.ts'
import { skipWithoutRangeLocks } from '../fixtures/range-locks.ts'

describe('LockTree: waiting', () => {
  skipWithoutRangeLocks()
  const crew = useCrew()
  const at = useFolder()

  const isWaiting = (tree: LockTree, count = 1) =>
    until(`${count} wait`, () => tree.holders().filter(({ state }) => state === 'waiting').length === count)

  it('a wait ends by its timeout, and the error says what, how long, where, and who', async () => {
    const mate = await crew.process()
    await mate.call('treeAcquire', at('db'), 'app/orders')
    const tree = new LockTree(at('db'), { timeoutMs: 80 })
    await assert.rejects(
      tree.shared('app', () => {}),
      (error) => {
        assert.ok(error instanceof LockTimeoutError)
        assert.ok(error.waitedMs >= 80 && error.waitedMs < 10_000, String(error.waitedMs))
        assert.equal(error.mode, 'shared')
        const start = `app is locked by pid ${mate.pid} (`
        assert.ok(error.message.startsWith(start), error.message)
        assert.ok(
          error.message.endsWith(
            `(no shared lock of it in ${tree.path} within ${(error.waitedMs / 1000).toFixed(1)} s)`,
          ),
          error.message,
        )
        return true
      },
    )
    assert.ok(
      await staysPending(
        tree.shared('app', () => {}, { timeoutMs: 60_000 }),
        200,
      ),
    )
  })

  it('an abort ends a wait with its reason, and neither an abort nor a timeout leaves anything behind', async () => {
    const mate = await crew.process()
    await mate.call('treeAcquire', at('db'), 'app', { mode: 'shared' })
    const tree = new LockTree(at('db'))
    await assert.rejects(
      tree.exclusive('app', () => {}, { timeoutMs: 30 }),
      LockTimeoutError,
    )
    const descriptors = readdirSync('/proc/self/fd').length
    const [abort, reason] = [new AbortController(), new Error('enough')]
    const aborted = assert.rejects(
      tree.exclusive('app/orders', () => assert.fail('it ran'), { signal: abort.signal }),
      (error) => error === reason,
    )
    const abortedToo = assert.rejects(
      tree.acquire('app', { mode: 'shared-intent-exclusive', signal: abort.signal }),
      (error) => error === reason,
    )
    await isWaiting(tree, 2)
    assert.equal(await mate.call('treeTry', at('db'), 'app', { mode: 'shared', as: 'second' }), false)
    abort.abort(reason)
    await Promise.all([aborted, abortedToo])
    assert.equal(tree.holders().length, 1)
    assert.equal(readdirSync('/proc/self/fd').length, descriptors)
    assert.equal(await mate.call('treeTry', at('db'), 'app', { mode: 'shared', as: 'second' }), true)
    await mate.call('treeRelease', 'app')
    await mate.call('treeRelease', 'second')
    tree.tryAcquire('app')!.release()
    const before = AbortSignal.abort(reason)
    await assert.rejects(tree.acquire('app', { signal: before }), (error) => error === reason)
  })

  it('a snapshot is not starved by a stream of edits, waiting or not', async () => {
    const mates = await crew.processes(3)
    // Nine streams, for longer than the snapshot waits: there is no moment in which nobody edits.
    for (const [i, mate] of mates.entries()) {
      for (const field of ['x', 'y', 'z'])
        void mate.call('treeEdit', at('db'), [`app/${i}/${field}`], 60_000, 50)
    }
    const tree = new LockTree(at('db'))
    const allEdit = () => until('most of them edit', () => tree.holders().length >= 6)
    await allEdit()
    const asked = performance.now()
    const took = await tree.shared('app', () => performance.now() - asked)
    note(`in after ${took.toFixed(0)} ms`)
    await allEdit()
  })

  it('edits that do not wait are told who waits in front of them', async () => {
    const [editor, snapshot] = await crew.processes(2)
    await editor!.call('treeAcquire', at('db'), 'app/orders/price')
    void snapshot!.call('treeAcquire', at('db'), 'app', { mode: 'shared', reason: 'backup' })
    const tree = new LockTree(at('db'), { timeoutMs: 0 })
    await isWaiting(tree)
    await assert.rejects(
      tree.exclusive('app/customers', () => {}),
      (error) => {
        assert.ok(error instanceof LockTimeoutError)
        assert.match(
          error.message,
          /^app\/customers is locked: 'backup' by pid \d+ \(.*\), waiting for app since/,
        )
        return true
      },
    )
    // What a snapshot does not mind goes on.
    assert.equal(await tree.shared('app/customers', () => 'read'), 'read')
    assert.equal(await tree.exclusive('other', () => 'beside'), 'beside')
    await editor!.call('treeRelease', 'app/orders/price')
    await until('the snapshot is in', () => tree.holders().every(({ state }) => state === 'holding'))
  })

  it('a waiter that is stopped costs the others some time, never progress', async () => {
    const stopped = await crew.process()
    const tree = new LockTree(at('db'))
    const held = await tree.acquire('app', { mode: 'shared' })
    void stopped.call('treeAcquire', at('db'), 'app')
    await isWaiting(tree)
    await stopped.signal('SIGSTOP')
    assert.equal(await tree.shared('app', () => 'in', { timeoutMs: 20_000 }), 'in')
    held.release()
    assert.equal(await tree.exclusive('app', () => 'in', { timeoutMs: 20_000 }), 'in')
    await stopped.signal('SIGCONT')
    await until('it goes on', () => tree.holders()[0]?.state === 'holding')
  })

  it('kill -9 of a waiter leaves nothing behind, its gate is open at once', async () => {
    const mate = await crew.process()
    const tree = new LockTree(at('db'))
    const held = await tree.acquire('app', { mode: 'shared' })
    void mate.call('treeAcquire', at('db'), 'app')
    await isWaiting(tree)
    assert.equal(tree.tryAcquire('app', { mode: 'shared' }), undefined)
    await mate.signal('SIGKILL')
    tree.tryAcquire('app', { mode: 'shared' })!.release()
    assert.equal(tree.holders().length, 1)
    held.release()
  })

  it('two that wait for each other, in two trees, both end, and the error names both sides', async () => {
    const mate = await crew.process()
    await mate.call('treeAcquire', at('two'), 'b')
    const [one, two] = [new LockTree(at('one')), new LockTree(at('two'))]
    const held = await one.acquire('a/x')
    const theirs = mate.call('treeAcquire', at('one'), 'a')
    await isWaiting(one)
    await assert.rejects(
      two.exclusive('b/y', () => {}, { timeoutMs: 100 }),
      (error) => {
        assert.ok(error instanceof LockTimeoutError)
        const { message } = error
        assert.ok(message.includes(`b/y is locked by pid ${mate.pid} (`), message)
        const meanwhile = `Meanwhile pid ${mate.pid} waits for a in ${one.path}, where this process (pid ${process.pid}) holds a/x`
        assert.ok(message.includes(meanwhile), message)
        return true
      },
    )
    held.release()
    await theirs
  })

  it('everyone gets a turn, where processes want the same name all the time', async () => {
    const mates = await crew.processes(4)
    const turns = await Promise.all(mates.map((mate) => mate.call('treeEdit', at('db'), ['app'], 2000, 1)))
    note(`turns: ${turns.join(', ')}`)
    assert.ok(Math.min(...turns) >= 5, String(turns))
  })

  it('200 waiters of one process all get in, one at a time', async () => {
    const tree = new LockTree(at('db'))
    let [inside, most, turns] = [0, 0, 0]
    const work = async () => {
      most = Math.max(most, ++inside)
      await new Promise(setImmediate)
      inside--
      turns++
    }
    const all = Array.from({ length: 200 }, (_, i) =>
      tree.exclusive(i % 2 ? 'app' : 'app/orders', work, { timeoutMs: 50_000 }),
    )
    await Promise.all(all)
    assert.deepEqual([most, turns], [1, 200])
  })

  it('processes that take names and modes at random never meet where the table forbids it', async () => {
    const seed = newSeed()
    mkdirSync(at('markers'))
    const names = ['app', 'app/a', 'app/a/x', 'app/a/y', 'app/b', 'app/b/x', 'app/a#op', 'app/b#op']
    const mates = await crew.processes(3)
    const seen = await Promise.all(
      mates.map((mate, i) =>
        mate.call('treeRoam', at('db'), {
          names,
          markers: at('markers'),
          seed: seed + i,
          forMs: 2500,
          tasks: 3,
        }),
      ),
    )
    const together = seen.reduce((sum, each) => sum + each.together, 0)
    note(
      `seed ${seed}: entered ${seen.map(({ entered }) => entered).join(', ')}, beside others ${together} times`,
    )
    assert.deepEqual(
      seen.flatMap(({ violations }) => violations),
      [],
    )
    assert.ok(together > 20 && seen.every(({ entered }) => entered > 20), 'there was contention')
    await sleep(0)
    assert.deepEqual(new LockTree(at('db')).holders(), [])
  })
})
