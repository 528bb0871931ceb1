import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { LockTree } from '../../src/lock-tree/lock-tree.ts'
import { codeUrl, LOADER } from '../fixtures/code.ts'
import { useCrew } from '../fixtures/crew.ts'
import { staysPending, useFolder } from '../fixtures/folder.ts'
import { newSeed, note, random } from '../fixtures/random.ts'
import { skipWithoutRangeLocks } from '../fixtures/range-locks.ts'

describe('LockTree: death and standstill', () => {
  skipWithoutRangeLocks()
  const crew = useCrew()
  const at = useFolder()

  it('kill -9 of a holder lets those in who wait, at once', async () => {
    const mate = await crew.process()
    await mate.call('treeAcquire', at('db'), 'app/orders')
    const waiting = new LockTree(at('db')).shared('app', () => performance.now())
    assert.ok(await staysPending(waiting))
    await mate.signal('SIGKILL')
    const dead = performance.now()
    assert.ok((await waiting) - dead < 5000)
  })

  it('a stopped holder keeps what it has', async () => {
    const mate = await crew.process()
    await mate.call('treeAcquire', at('db'), 'app/orders', { reason: 'import' })
    await mate.signal('SIGSTOP')
    const tree = new LockTree(at('db'))
    const waiting = tree.exclusive('app/orders/price', () => 'in')
    assert.ok(await staysPending(waiting, 1500))
    assert.equal(tree.holders('app/orders')[0]?.pid, mate.pid)
    await mate.signal('SIGCONT')
    assert.ok(await staysPending(waiting))
    await mate.call('treeRelease', 'app/orders')
    assert.equal(await waiting, 'in')
  })

  it('worker threads and the main thread exclude each other, and a terminated one frees what it has', async () => {
    const [one, other] = [await crew.thread(), await crew.thread()]
    const tree = new LockTree(at('db'))
    assert.equal(await one.call('treeTry', at('db'), 'app/orders'), true)
    assert.equal(await other.call('treeTry', at('db'), 'app/orders/price'), false)
    assert.equal(await other.call('treeTry', at('db'), 'app/customers'), true)
    assert.equal(tree.tryAcquire('app/orders'), undefined)
    assert.equal(tree.tryAcquire('app', { mode: 'shared' }), undefined)
    const waiting = tree.exclusive('app/orders', () => 'in')
    assert.ok(await staysPending(waiting))
    await one.worker.terminate()
    assert.equal(await waiting, 'in')
    await other.call('treeRelease', 'app/customers')
    tree.tryAcquire('app')!.release()
  })

  it('a child process started inside a hold does not inherit it', async () => {
    const mate = await crew.process()
    await mate.call('treeAcquire', at('db'), 'app')
    const child = await mate.call('spawnSleeper')
    try {
      await mate.signal('SIGKILL')
      assert.equal(process.kill(child, 0), true, 'the child outlives its parent')
      new LockTree(at('db')).tryAcquire('app')!.release()
    } finally {
      process.kill(child, 'SIGKILL')
    }
  })

  it('kill -9 at any moment, also while names are made, leaves a file that all go on with', async () => {
    const seed = newSeed()
    const next = random(seed)
    const tree = new LockTree(at('db'))
    for (let round = 0; round < 6; round++) {
      const mates = await crew.processes(3)
      const names = Array.from({ length: 200 }, (_, i) => `app/${round}/${i}`)
      const edits = mates.map((mate) => mate.call('treeEdit', at('db'), names, 2000, 0))
      await staysPending(Promise.all(edits), 20 + next() * 80)
      await Promise.all(mates.map((mate) => mate.signal('SIGKILL')))
      assert.deepEqual(tree.holders(), [])
      tree.tryAcquire('app')!.release()
    }
    note(`seed ${seed}`)
    const survivor = await crew.process()
    const names = ['app/0/0', 'app/3/100', 'app/5/199', 'app/new']
    assert.deepEqual(await survivor.call('treeTryAll', at('db'), names), names)
    assert.deepEqual(
      tree.holders().map(({ name }) => name),
      names,
    )
  })

  it('an idle tree does not keep a process alive, and process.exit does not wait for holds and waits', async () => {
    const script = (end: string) => `
      const { LockTree } = await import(${JSON.stringify(codeUrl('src/index'))})
      const tree = new LockTree(${JSON.stringify(at('db'))})
      await tree.exclusive('app', () => {})
      ${end}`
    const run = (end: string) =>
      promisify(execFile)(process.execPath, [...LOADER, '--input-type=module', '-e', script(end)], {
        timeout: 20_000,
      })
    await run('')
    await run(`
      await tree.acquire('app')
      tree.exclusive('app', () => {}, { timeoutMs: Infinity })
      setTimeout(() => process.exit(), 20)`)
    await run("await tree.acquire('app')")
    new LockTree(at('db')).tryAcquire('app')!.release()
  })
})
