import assert from 'node:assert/strict'
import {
  copyFileSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { PsLock } from '../../src/lock/lock.ts'
import { useCrew } from '../fixtures/crew.ts'
import { staysPending, useFolder } from '../fixtures/folder.ts'
import { newSeed, note, random } from '../fixtures/random.ts'

/** The lock file belongs to everybody who can write in its folder. What they do to it must never split the lock for good. */
describe('a lock file that others touch', () => {
  const crew = useCrew()
  const at = useFolder()

  const losses: [string, () => void][] = [
    ['deleted', () => unlinkSync(at('data.lock'))],
    [
      'replaced by a rename',
      () => {
        writeFileSync(at('new'), '')
        renameSync(at('new'), at('data.lock'))
      },
    ],
    [
      'deleted and made anew',
      () => {
        unlinkSync(at('data.lock'))
        writeFileSync(at('data.lock'), 'new')
      },
    ],
  ]

  for (const [what, lose] of losses) {
    it(`${what} while held: the release says so, and from then on all exclude each other again`, async () => {
      const mate = await crew.process()
      const lock = new PsLock(at('data'))
      await mate.call('tryAcquire', at('data'))
      await mate.call('release')
      const held = await lock.acquire()
      lose()
      assert.throws(() => held.release(), { code: 'PSLOCK_LOST', path: lock.path })
      assert.equal(await mate.call('tryAcquire', at('data')), true)
      assert.equal(lock.tryAcquire(), undefined)
      await mate.call('release')
      lock.tryAcquire()!.release()
    })

    it(`${what} while waited for: the waiters go on, one at a time`, async () => {
      const mates = await crew.processes(3)
      const lock = new PsLock(at('data'))
      const held = await lock.acquire()
      const work = mates.map((mate, i) =>
        mate.call('increment', at('data'), at('counter'), { times: 30, tasks: 2, seed: i + 1 }),
      )
      await sleep(80)
      lose()
      assert.throws(() => held.release(), { code: 'PSLOCK_LOST' })
      await Promise.all(work)
      assert.equal(JSON.parse(readFileSync(at('counter'), 'utf8')).count, 180)
    })

    it(`${what} while free: who had it open and who comes new meet on the same file`, async () => {
      const mate = await crew.process()
      const lock = new PsLock(at('data'))
      await lock.exclusive(() => {})
      lose()
      await mate.call('acquire', at('data'))
      assert.equal(lock.tryAcquire(), undefined)
      assert.ok(await staysPending(lock.acquire({ timeoutMs: 20_000 })))
      await mate.call('release')
    })
  }

  it('a waiter is not kept out by a ghost that holds a deleted file', async () => {
    const mate = await crew.process()
    await mate.call('acquire', at('data'))
    const lock = new PsLock(at('data'))
    const waiting = lock.acquire({ timeoutMs: 20_000 })
    assert.ok(await staysPending(waiting))
    unlinkSync(at('data.lock'))
    const held = await waiting
    assert.equal(await (await crew.process()).call('tryAcquire', at('data')), false)
    held.release()
  })

  it('the turn file may vanish too', async () => {
    const mates = await crew.processes(3)
    const work = mates.map((mate) => mate.call('contend', at('data'), { forMs: 600, holdMs: 1 }))
    for (let i = 0; i < 10; i++) {
      await sleep(40)
      rmSync(at('data.lock.turn'), { force: true })
    }
    for (const { turns } of await Promise.all(work)) assert.ok(turns > 0)
  })

  it('what others write into it is harmless: it neither locks, nor frees, nor says who holds', async () => {
    const mate = await crew.process()
    const lock = new PsLock(at('data'))
    const seed = newSeed()
    const next = random(seed)
    const noise = () => Buffer.from(Array.from({ length: 1 + next() * 400 }, () => next() * 256))
    note(`seed ${seed}`)
    const contents = [
      ...['1234\n', '{}', 'null', '{"pid":1}', '{"pid":"x","since":1}', `{"pid":${process.pid},"since":0}`],
      ...[`${'x'.repeat(5000)}\n`, noise(), noise()],
    ]
    for (const content of contents) {
      writeFileSync(at('data.lock'), content)
      assert.deepEqual(lock.holders(), [])
      await mate.call('acquire', at('data'))
      const holding = lock.holders().filter(({ state }) => state === 'holding')
      assert.deepEqual(
        holding.map(({ pid, mode }) => [pid, mode]),
        [[mate.pid, 'exclusive']],
      )
      assert.equal(lock.tryAcquire(), undefined)
      await mate.call('release')
    }
  })

  it('what others have written into it stays, however long it is held (law 11)', async () => {
    for (const content of ['1234\n', '# a lock file of some package manager\n'.repeat(20), 'no json']) {
      writeFileSync(at('packages.lock'), content)
      await new PsLock(at('packages.lock')).exclusive(() => sleep(80))
      assert.equal(readFileSync(at('packages.lock'), 'utf8'), content)
    }
  })

  it('truncating it, as Python\'s open(name, "w") does, frees nothing', async () => {
    const mate = await crew.process()
    await mate.call('acquire', at('data'))
    await sleep(50)
    truncateSync(at('data.lock'), 0)
    const lock = new PsLock(at('data'))
    assert.equal(lock.tryAcquire(), undefined)
    assert.equal(lock.holders()[0]?.pid, mate.pid)
    await mate.call('release')
    lock.tryAcquire()!.release()
  })

  it('we never unlink, rename or truncate it: one inode for ever, in the hands of many', async () => {
    const lock = new PsLock(at('data'))
    await lock.exclusive(() => sleep(40))
    const before = statSync(at('data.lock'))
    const mates = await crew.processes(3)
    await Promise.all(mates.map((mate) => mate.call('contend', at('data'), { forMs: 300, holdMs: 25 })))
    await Promise.all(mates.map((mate) => mate.call('close', at('data'))))
    await mates[0]!.call('acquire', at('data'))
    await mates[0]!.signal('SIGKILL')
    await lock.close()
    const now = statSync(at('data.lock'))
    assert.deepEqual([now.ino, now.dev, now.nlink], [before.ino, before.dev, 1])
    assert.ok(now.size >= before.size)
  })

  it('a lock file copied with its folder says nothing about the copy', async () => {
    const lock = new PsLock(at('data'))
    const held = await lock.acquire()
    await sleep(60)
    copyFileSync(at('data.lock'), at('copy.lock'))
    assert.deepEqual(new PsLock(at('copy')).holders(), [])
    new PsLock(at('copy')).tryAcquire()!.release()
    held.release()
  })
})
