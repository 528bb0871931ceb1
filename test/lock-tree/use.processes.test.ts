import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { LockTimeoutError } from '../../src/errors.ts'
import { LockTree } from '../../src/lock-tree/lock-tree.ts'
import { useCrew } from '../fixtures/crew.ts'
import { staysPending, useFolder } from '../fixtures/folder.ts'
import { skipWithoutRangeLocks } from '../fixtures/range-locks.ts'

async function refusalOf(promise: Promise<unknown>): Promise<LockTimeoutError> {
  const error = await promise.then(
    () => assert.fail('it was granted'),
    (reason) => reason,
  )
  assert.ok(error instanceof LockTimeoutError, String(error))
  return error
}

/** The database builder that asked for it: snapshots, imports, edits of fields. */
describe('LockTree: snapshots, imports and edits', () => {
  skipWithoutRangeLocks()
  const crew = useCrew()
  const at = useFolder()

  it('a snapshot makes every edit below it fail at once, with an error that a user can be shown', async () => {
    const mate = await crew.process()
    const reason = 'nightly snapshot'
    await mate.call('treeAcquire', at('db'), 'app', { mode: 'shared', reason })
    const tree = new LockTree(at('db'))
    for (const name of ['app/orders/price', 'app/orders', 'app/customers/mail', 'app', 'app/orders#import']) {
      const error = await refusalOf(tree.exclusive(name, () => assert.fail('it ran'), { timeoutMs: 0 }))
      const escaped = name.replaceAll('/', '\\/')
      const text = `^${escaped} is locked: 'nightly snapshot' by pid ${mate.pid} \\(.*\\) since \\d+\\.\\d s$`
      assert.match(error.message, new RegExp(text))
      const command = readFileSync(`/proc/${mate.pid}/cmdline`, 'utf8').replaceAll('\0', ' ').trim()
      assert.equal(error.holders.length, 1)
      const [{ sinceMs, ...holder } = assert.fail()] = error.holders
      assert.ok(typeof sinceMs === 'number' && sinceMs >= 0 && sinceMs < 60_000)
      const state = 'holding'
      assert.deepEqual(holder, { pid: mate.pid, command, name: 'app', mode: 'shared', state, reason })
      assert.deepEqual([error.mode, error.waitedMs, error.path], ['exclusive', 0, tree.path])
    }
    assert.equal(await tree.exclusive('other/orders', () => 'beside it', { timeoutMs: 0 }), 'beside it')
    await mate.call('treeRelease', 'app')
    assert.equal(await tree.exclusive('app/orders/price', () => 'after it', { timeoutMs: 0 }), 'after it')
  })

  it('an edit makes a snapshot above it fail; those that wait get in when the other has finished', async () => {
    const mate = await crew.process()
    await mate.call('treeAcquire', at('db'), 'app/orders/price')
    const tree = new LockTree(at('db'))
    const error = await refusalOf(tree.shared('app', () => {}, { timeoutMs: 0 }))
    assert.match(error.message, new RegExp(`^app is locked by pid ${mate.pid} `))
    const snapshot = tree.shared('app', () => 'whole')
    assert.ok(await staysPending(snapshot))
    await mate.call('treeRelease', 'app/orders/price')
    assert.equal(await snapshot, 'whole')
  })

  it('several snapshots run together, an edit waits for the last of them', async () => {
    const mates = await crew.processes(3)
    for (const mate of mates)
      await mate.call('treeAcquire', at('db'), 'app', { mode: 'shared', timeoutMs: 0 })
    const tree = new LockTree(at('db'))
    const error = await refusalOf(tree.exclusive('app/orders/price', () => {}, { timeoutMs: 0 }))
    assert.deepEqual(error.holders.map(({ pid }) => pid).sort(), mates.map(({ pid }) => pid).sort())
    for (const { pid } of mates) assert.ok(error.message.includes(`pid ${pid}`), error.message)
    const edit = tree.exclusive('app/orders/price', () => 'edited')
    for (const mate of mates) {
      assert.ok(await staysPending(edit, 40))
      await mate.call('treeRelease', 'app')
    }
    assert.equal(await edit, 'edited')
  })

  it('an import holds its table while fields of another table are edited', async () => {
    const mate = await crew.process()
    await mate.call('treeAcquire', at('db'), 'app/orders', { reason: 'import' })
    const tree = new LockTree(at('db'), { timeoutMs: 0 })
    assert.equal(await tree.exclusive('app/customers/mail', () => 1), 1)
    assert.equal(await tree.exclusive('app/customers', () => 2), 2)
    for (const name of ['app/orders/price', 'app/orders', 'app', 'app/orders/price/cents']) {
      await refusalOf(tree.exclusive(name, () => {}))
      await refusalOf(tree.shared(name, () => {}))
    }
    // A name that begins with the same letters is another name.
    assert.equal(await tree.exclusive('app/orders2', () => 3), 3)
  })

  it('edits of different fields run together, of the same field one after the other', async () => {
    const mate = await crew.process()
    await mate.call('treeAcquire', at('db'), 'app/orders/price')
    const tree = new LockTree(at('db'), { timeoutMs: 0 })
    assert.equal(await tree.exclusive('app/orders/amount', () => 'beside'), 'beside')
    await refusalOf(tree.exclusive('app/orders/price', () => {}))
  })

  it('a named operation locks against itself and whoever has its parents, not against what is beside it', async () => {
    const mate = await crew.process()
    await mate.call('treeAcquire', at('db'), 'app/orders#delete-field', { reason: 'delete a field' })
    const tree = new LockTree(at('db'), { timeoutMs: 0 })
    const error = await refusalOf(tree.exclusive('app/orders#delete-field', () => {}))
    assert.match(error.message, /^app\/orders#delete-field is locked: 'delete a field' by pid /)
    for (const name of ['app/orders', 'app']) {
      await refusalOf(tree.exclusive(name, () => {}))
      await refusalOf(tree.shared(name, () => {}))
    }
    for (const name of [
      'app/orders#export',
      'app/orders/price',
      'app/orders/delete-field',
      'app#delete-field',
    ]) {
      assert.equal(await tree.exclusive(name, () => name), name)
    }
  })

  it('shared-intent-exclusive reads a whole table and edits some of it', async () => {
    const mate = await crew.process()
    const tree = new LockTree(at('db'), { timeoutMs: 0 })
    const held = await tree.acquire('app/orders', { mode: 'shared-intent-exclusive' })
    assert.equal(await held.run(() => tree.exclusive('app/orders/price', () => 'edited')), 'edited')
    assert.equal(await mate.call('treeTry', at('db'), 'app/orders/price'), false)
    assert.equal(await mate.call('treeTry', at('db'), 'app/orders/amount', { mode: 'shared' }), true)
    held.release()
  })
})
