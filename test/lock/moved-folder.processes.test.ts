import assert from 'node:assert/strict'
import {
  existsSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmdirSync,
  rmSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs'
import { LockIoError, LockLostError, LockUnsupportedError } from '../../src/errors.ts'
import { PsLock } from '../../src/lock/lock.ts'
import { LOADER } from '../fixtures/code.ts'
import { useCrew } from '../fixtures/crew.ts'
import { useFolder } from '../fixtures/folder.ts'
import { mustBlock, waitsHere, waitsThere } from '../fixtures/must-block.ts'

/** The release of a lock whose path leads elsewhere by now, in another process. */
const LOST = { code: 'PSLOCK_LOST' }

/** Folders and links are moved by deployments, clean-ups and people, also while a lock in them is held or waited for. */
describe('a folder that is moved or removed', () => {
  const crew = useCrew()
  const at = useFolder()
  const newLock = (name = 'dir/data') => new PsLock(at(name))

  beforeEach(() => mkdirSync(at('dir')))

  it('removed while held: the release says so, then all is refused until it exists again', async () => {
    const lock = newLock()
    const held = await lock.acquire()
    rmSync(at('dir'), { recursive: true })
    assert.throws(() => held.release(), LockLostError)
    assert.throws(() => lock.tryAcquire(), LockIoError)
    await assert.rejects(lock.acquire(), { code: 'PSLOCK_IO', message: /dir.*does not exist/ })
    mkdirSync(at('dir'))
    const again = await lock.acquire()
    assert.equal(await (await crew.process()).call('tryAcquire', at('dir/data')), false)
    again.release()
  })

  it('removed while waited for: every waiter is told at once, none waits out its time', async () => {
    const mate = await crew.process()
    await mate.call('acquire', at('dir/data'))
    const lock = newLock()
    const asked = performance.now()
    const blocked = await mustBlock('the first waiter', lock.acquire(), { seen: waitsHere(lock) })
    const others = Promise.allSettled([
      lock.exclusive(() => assert.fail('it ran')),
      lock.shared(() => assert.fail('it ran')),
    ])
    await assert.rejects(
      blocked.unblock(() => rmSync(at('dir'), { recursive: true })),
      { code: 'PSLOCK_IO' },
    )
    for (const result of await others) {
      assert.equal(result.status === 'rejected' && result.reason.code, 'PSLOCK_IO')
    }
    assert.ok(performance.now() - asked < 20_000, 'the timeout of 30 s was not waited for')
    await assert.rejects(mate.call('release'), LOST)
  })

  it('renamed while held: it is locked under its new name, until the release', async () => {
    const mate = await crew.process()
    const held = await newLock().acquire()
    renameSync(at('dir'), at('moved'))
    assert.equal(await mate.call('tryAcquire', at('moved/data')), false)
    assert.equal(newLock('moved/data').tryAcquire(), undefined, 'nor for this very process')
    const wait = newLock('moved/data').acquire()
    const blocked = await mustBlock('the waiter at the new name', wait)
    const taken = await blocked.unblock(() => assert.throws(() => held.release(), LockLostError))
    taken.release()
    assert.equal(await mate.call('tryAcquire', at('moved/data')), true)
  })

  it('renamed while held and another put in its place: the new one is free, and from then on one lock again', async () => {
    const mate = await crew.process()
    const lock = newLock()
    const held = await lock.acquire()
    renameSync(at('dir'), at('moved'))
    mkdirSync(at('dir'))
    assert.equal(await mate.call('tryAcquire', at('dir/data')), true)
    assert.throws(() => held.release(), LockLostError)
    assert.equal(lock.tryAcquire(), undefined, 'the old holder now sees the new file')
    await mate.call('release')
    lock.tryAcquire()!.release()
  })

  it('renamed away and back while held: nobody else has got in', async () => {
    const mate = await crew.process()
    const lock = newLock()
    const held = await lock.acquire()
    renameSync(at('dir'), at('moved'))
    renameSync(at('moved'), at('dir'))
    assert.equal(await mate.call('tryAcquire', at('dir/data')), false)
    held.release()
    assert.equal(await mate.call('tryAcquire', at('dir/data')), true)
  })

  it('a file put in its place: refused, typed, and nothing stays locked', async () => {
    const mate = await crew.process()
    const lock = newLock()
    await lock.exclusive(() => {})
    renameSync(at('dir'), at('moved'))
    writeFileSync(at('dir'), 'a file')
    const is = (error: unknown) => error instanceof LockIoError && error.path === at('dir/data.lock')
    await assert.rejects(lock.acquire(), is)
    await assert.rejects(
      lock.exclusive(() => assert.fail('it ran')),
      is,
    )
    assert.throws(() => lock.tryAcquire(), is)
    assert.throws(() => lock.acquireSync({ mode: 'shared' }), is)
    assert.equal(await mate.call('tryAcquire', at('moved/data')), true)
  })

  it('a file put in its place while waited for: the waiter is told at once, not by a crash', async () => {
    const mate = await crew.process()
    await mate.call('acquire', at('dir/data'))
    const lock = newLock()
    const blocked = await mustBlock('the waiter', lock.acquire(), { seen: waitsHere(lock) })
    const refused = blocked.unblock(() => {
      renameSync(at('dir'), at('moved'))
      writeFileSync(at('dir'), 'a file')
    })
    await assert.rejects(refused, LockIoError)
    await mate.call('release')
    assert.equal(await mate.call('tryAcquire', at('moved/data')), true)
  })

  it('removed while ten thousand wait: all are told, and the process lives', async () => {
    const mate = await crew.process()
    await mate.call('acquire', at('dir/data'))
    const lock = newLock()
    const waits = Promise.allSettled(Array.from({ length: 10_000 }, () => lock.acquire()))
    rmSync(at('dir'), { recursive: true })
    const results = await waits
    assert.ok(results.every((result) => result.status === 'rejected' && result.reason.code === 'PSLOCK_IO'))
    await assert.rejects(mate.call('release'), LOST)
  })

  it('a link to the folder that is switched: who holds it keeps what it has, and the next hold is of the new one', async () => {
    const mate = await crew.process()
    mkdirSync(at('next'))
    symlinkSync('dir', at('current'))
    const lock = newLock('current/data')
    const before = await lock.acquire()
    unlinkSync(at('current'))
    symlinkSync('next', at('current'))
    assert.equal(await mate.call('tryAcquire', at('dir/data'), { as: 'no' }), false)
    before.release()
    const held = await lock.acquire()
    assert.equal(lock.path, at('next/data.lock'))
    assert.equal(await mate.call('tryAcquire', at('current/data'), { as: 'no' }), false)
    assert.equal(newLock('next/data').tryAcquire(), undefined)
    assert.equal(await mate.call('tryAcquire', at('dir/data')), true)
    held.release()
  })

  it('the data file replaced, removed or turned into a folder while held: the lock does not care', async () => {
    const mate = await crew.process()
    writeFileSync(at('dir/data'), 'one')
    const held = await newLock().acquire()
    for (const change of [
      () => {
        writeFileSync(at('dir/new'), 'two')
        renameSync(at('dir/new'), at('dir/data'))
      },
      () => unlinkSync(at('dir/data')),
      () => mkdirSync(at('dir/data')),
    ]) {
      change()
      assert.equal(await mate.call('tryAcquire', at('dir/data'), { as: 'no' }), false)
      assert.equal(await mate.call('tryAcquire', at('dir/data'), { as: 'no', mode: 'shared' }), false)
    }
    held.release()
    assert.equal(await mate.call('tryAcquire', at('dir/data')), true)
  })

  const usurpers: [string, () => void, () => void][] = [
    ['a folder', () => mkdirSync(at('dir/data.lock')), () => rmdirSync(at('dir/data.lock'))],
    [
      'a link to something precious',
      () => symlinkSync(at('precious'), at('dir/data.lock')),
      () => unlinkSync(at('dir/data.lock')),
    ],
  ]

  for (const [what, usurp, undo] of usurpers) {
    it(`${what} put in the place of the lock file while it is held and waited for is refused, and harmless`, async () => {
      writeFileSync(at('precious'), 'content')
      const mate = await crew.process()
      await mate.call('acquire', at('dir/data'))
      const lock = newLock()
      const wait = lock.acquire()
      const blocked = await mustBlock('the waiter', wait, { seen: waitsHere(lock) })
      await assert.rejects(
        blocked.unblock(() => {
          renameSync(at('dir/data.lock'), at('dir/gone'))
          usurp()
        }),
        LockUnsupportedError,
      )
      await assert.rejects(mate.call('release'), LOST)
      assert.throws(() => lock.tryAcquire(), LockUnsupportedError)
      undo()
      await mate.call('acquire', at('dir/data'))
      assert.equal(lock.tryAcquire(), undefined)
      assert.equal(readFileSync(at('precious'), 'utf8'), 'content')
    })
  }

  const beside: [string, () => void][] = [
    ['a folder', () => mkdirSync(at('dir/data.lock.turn'))],
    ['a link that leads nowhere', () => symlinkSync(at('nowhere'), at('dir/data.lock.turn'))],
  ]

  for (const [what, put] of beside) {
    it(`${what} in the place of what waiters keep beside the lock file costs order, never the lock`, async () => {
      put()
      const mates = await crew.processes(3)
      const held = await newLock().acquire()
      const work = mates.map((mate, i) =>
        mate.call('increment', at('dir/data'), at('counter'), { times: 40, seed: i + 1 }),
      )
      const blocked = await mustBlock('the first of three', work[0]!, {
        seen: waitsThere(mates[0]!, at('dir/data')),
      })
      await blocked.unblock(() => held.release())
      await Promise.all(work)
      assert.equal(JSON.parse(readFileSync(at('counter'), 'utf8')).count, 120)
      assert.equal(existsSync(at('nowhere')), false)
    })
  }

  it('a working folder that was removed does not matter to an absolute path', async () => {
    const mate = await crew.process({ cwd: at('dir'), execArgv: [...LOADER] })
    rmSync(at('dir'), { recursive: true })
    await mate.call('acquire', at('data'))
    assert.equal(newLock('data').tryAcquire(), undefined)
    assert.ok(existsSync(at('data.lock')))
    await mate.call('release')
  })
})
