import assert from 'node:assert/strict'
import { existsSync, readFileSync } from 'node:fs'
import { LockTree } from '../../src/lock-tree/lock-tree.ts'
import { LOADER } from '../fixtures/code.ts'
import { useCrew } from '../fixtures/crew.ts'
import { until, useFolder } from '../fixtures/folder.ts'
import { newSeed, note, random } from '../fixtures/random.ts'
import { skipWithoutRangeLocks } from '../fixtures/range-locks.ts'

describe('LockTree: who holds', () => {
  skipWithoutRangeLocks()
  const crew = useCrew()
  const at = useFolder()

  it('lists everybody who holds or waits, the oldest first, and creates nothing', async () => {
    const tree = new LockTree(at('db'))
    assert.deepEqual(tree.holders(), [])
    assert.equal(existsSync(tree.path), false)
    const mate = await crew.process()
    await mate.call('treeAcquire', at('db'), 'app/orders', { reason: 'import' })
    const held = await tree.acquire('app/customers', { mode: 'shared' })
    const waiting = tree.exclusive('app', () => {}, { reason: 'drop all' })
    await until('it waits', () => tree.holders().length === 3)
    const seen = tree.holders().map(({ name, mode, pid, reason, state }) => [name, mode, pid, reason, state])
    assert.deepEqual(seen, [
      ['app/orders', 'exclusive', mate.pid, 'import', 'holding'],
      ['app/customers', 'shared', process.pid, undefined, 'holding'],
      ['app', 'exclusive', process.pid, 'drop all', 'waiting'],
    ])
    assert.deepEqual(await mate.call('treeHolders', at('db')).then((all) => all.map(({ name }) => name)), [
      'app/orders',
      'app/customers',
      'app',
    ])
    const own = tree.holders().find(({ name }) => name === 'app/customers')
    assert.match(own?.acquiredAt ?? '', /holders\.processes\.test\.[jt]s/)
    await mate.call('treeRelease', 'app/orders')
    held.release()
    await waiting
    assert.deepEqual(tree.holders(), [])
  })

  it('of one name it lists those whom an exclusive lock of it would wait for', async () => {
    const tree = new LockTree(at('db'))
    const all = [
      tree.tryAcquire('app/orders', { mode: 'shared' }),
      tree.tryAcquire('app/customers/mail'),
      tree.tryAcquire('other', { mode: 'shared' }),
    ]
    const names = (name: string) => tree.holders(name).map((holder) => holder.name)
    assert.deepEqual(names('app'), ['app/orders', 'app/customers/mail'])
    assert.deepEqual(names('app/orders/price'), ['app/orders'])
    assert.deepEqual(names('app/customers/phone'), [])
    assert.deepEqual(names('other'), ['other'])
    for (const held of all) held?.release()
    assert.deepEqual(names('app'), [])
  })

  it('command lines are read from the live process and never stand in the file', async () => {
    const mate = await crew.process({ execArgv: [...LOADER, '--title=secret-of-mate'] })
    await mate.call('treeAcquire', at('db'), 'app')
    const tree = new LockTree(at('db'))
    const [holder] = tree.holders()
    assert.ok(holder?.command && holder.command.length > 0)
    const text = readFileSync(tree.path, 'utf8')
    assert.ok(text.includes(`"pid":${mate.pid}`), 'there is a note')
    assert.ok(!text.includes('secret') && !text.includes('lock-worker'), text)
  })

  it('ghosts are never listed: notes of the dead, of the released, and of places that others took over', async () => {
    const seed = newSeed()
    const next = random(seed)
    const tree = new LockTree(at('db'))
    for (let round = 0; round < 4; round++) {
      const mates = await crew.processes(3)
      for (const [i, mate] of mates.entries()) {
        await mate.call('treeAcquire', at('db'), `app/${i}`, { reason: `of ${mate.pid}` })
      }
      const mate = mates[Math.floor(next() * mates.length)]!
      await mate.signal('SIGKILL')
      const name = `app/${mates.indexOf(mate)}`
      assert.ok(readFileSync(tree.path, 'utf8').includes(`"of ${mate.pid}"`), 'its note is still in the file')
      assert.deepEqual(tree.holders(name), [])
      assert.equal(tree.holders().length, 2)
      const held = tree.tryAcquire(name, { reason: 'the next one' })!
      assert.deepEqual(
        tree.holders(name).map(({ pid, reason }) => [pid, reason]),
        [[process.pid, 'the next one']],
      )
      held.release()
      await Promise.all(mates.map((each) => each.signal('SIGKILL')))
      assert.deepEqual(tree.holders(), [])
    }
    note(`seed ${seed}`)
    const names = readFileSync(tree.path, 'utf8').match(/^note /gm)
    assert.ok(names && names.length <= 4, 'places of notes are used again')
  })

  it('a hold inside another one gives the reason of the outer, unless it has its own', async () => {
    const tree = new LockTree(at('db'))
    await tree.exclusive(
      'app',
      async () => {
        await tree.exclusive('app/a', () => {
          assert.deepEqual(
            tree.holders().map(({ reason }) => reason),
            ['migration', 'migration'],
          )
        })
        await tree.exclusive('app/b', () => assert.equal(tree.holders()[1]?.reason, 'step b'), {
          reason: 'step b',
        })
      },
      { reason: 'migration' },
    )
  })
})
