import assert from 'node:assert/strict'
import { chmodSync, existsSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { LockIoError } from '../../src/errors.ts'
import { PsLock } from '../../src/lock/lock.ts'
import { type LockProcess, useCrew } from '../fixtures/crew.ts'
import { useFolder } from '../fixtures/folder.ts'
import { mustBlock, waitsHere, waitsThere } from '../fixtures/must-block.ts'
import { fillUp, remount, useSmallDisk } from '../fixtures/small-disk.ts'

/** Where there is no room, no permission to write or no descriptor left, a lock is refused aloud or works; never by halves. */
describe('scarcity', () => {
  const crew = useCrew()
  const at = useFolder()

  /** A mate whose node starts under this limit of the shell's ulimit. */
  function confined(limit: string): Promise<LockProcess> {
    const script = at('confined')
    writeFileSync(script, `#!/bin/sh\nulimit ${limit}\nexec '${process.execPath}' "$@"\n`)
    chmodSync(script, 0o755)
    return crew.process({ execPath: script })
  }

  describe('a full disk', () => {
    const disk = useSmallDisk(at)

    it('locks, waits and hands over all the same: notes and turns are courtesies', async () => {
      writeFileSync(disk('data.lock'), '')
      fillUp(disk('full'))
      assert.throws(() => writeFileSync(disk('more'), 'x'), { code: 'ENOSPC' })
      const mates = await crew.processes(3)
      const lock = new PsLock(disk('data'))
      const held = await lock.acquire()
      let inside = 0
      let most = 0
      const turns = mates.map(async (mate) => {
        await mate.call('acquire', disk('data'))
        most = Math.max(most, ++inside)
        assert.equal(lock.tryAcquire({ mode: 'shared' }), undefined)
        inside--
        await mate.call('release')
      })
      for (const [i, mate] of mates.entries()) {
        await mustBlock(`mate ${i}`, turns[i]!, { seen: waitsThere(mate, disk('data')), quietMs: 80 })
      }
      assert.equal(lock.holders()[0]?.pid, process.pid)
      held.release()
      await Promise.all(turns)
      assert.equal(most, 1)
      lock.tryAcquire()!.release()
    })

    it('a lock file can be made, for it is empty', async () => {
      fillUp(disk('full'))
      await new PsLock(disk('data')).exclusive(() => {})
      assert.equal(statSync(disk('data.lock')).size, 0)
    })
  })

  describe('a disk without a free inode', () => {
    // The root folder is one of them.
    const disk = useSmallDisk(at, 'size=64k,nr_inodes=3')

    it('a lock file that cannot be made is a LockIoError with the cause; freed, the same lock works', async () => {
      writeFileSync(disk('one'), '')
      writeFileSync(disk('two'), '')
      const lock = new PsLock(disk('data'))
      for (const attempt of [() => lock.acquire(), () => lock.exclusive(() => assert.fail('it ran'))]) {
        await assert.rejects(
          attempt(),
          (error) =>
            error instanceof LockIoError &&
            error.path === disk('data.lock') &&
            error.message.includes('ENOSPC') &&
            (error.cause as NodeJS.ErrnoException).code === 'ENOSPC',
        )
      }
      assert.throws(() => lock.tryAcquire(), LockIoError)
      rmSync(disk('two'))
      lock.tryAcquire()!.release()
    })

    it('one inode is enough: waiters do without whatever else they would like to make', async () => {
      writeFileSync(disk('one'), '')
      const mate = await crew.process()
      const lock = new PsLock(disk('data'))
      const held = await lock.acquire()
      assert.deepEqual(readdirSync(disk()).sort(), ['data.lock', 'one'])
      const wait = mate.call('acquire', disk('data'))
      const blocked = await mustBlock('the mate', wait, {
        seen: waitsThere(mate, disk('data')),
        quietMs: 150,
      })
      assert.deepEqual(readdirSync(disk()).sort(), ['data.lock', 'one'])
      await blocked.unblock(() => held.release())
      assert.equal(lock.tryAcquire(), undefined)
      await mate.call('release')
    })
  })

  describe('a read-only file system', () => {
    const disk = useSmallDisk(at)
    afterEach(() => {
      if (existsSync(disk('data.lock'))) remount(disk(), 'rw')
    })

    it('a lock file that is there locks, shared and exclusive, with waits', async () => {
      writeFileSync(disk('data.lock'), '')
      remount(disk(), 'ro')
      const mate = await crew.process()
      const lock = new PsLock(disk('data'))
      for (const mode of ['exclusive', 'shared'] as const) {
        await mate.call('acquire', disk('data'), { mode })
        const wait = lock.acquire()
        const blocked = await mustBlock(`exclusive beside ${mode}`, wait, { seen: waitsHere(lock) })
        const held = await blocked.unblock(() => mate.call('release'))
        assert.equal(await mate.call('tryAcquire', disk('data'), { mode }), false)
        held.release()
      }
    })

    it('one that is not there is a LockIoError that names the lockPath option, and lockPath helps', async () => {
      writeFileSync(disk('data'), '')
      remount(disk(), 'ro')
      await assert.rejects(new PsLock(disk('data')).acquire(), {
        code: 'PSLOCK_IO',
        message: /EROFS.*lockPath/s,
      })
      const elsewhere = { lockPath: at('elsewhere.lock') }
      const held = await new PsLock(disk('data'), elsewhere).acquire()
      const mate = await crew.process()
      assert.equal(await mate.call('tryAcquire', disk('data'), elsewhere), false)
      held.release()
    })
  })

  describe('no file may have a size (ulimit -f 0)', () => {
    it('locks and waits all the same, and is still seen as the holder', async () => {
      const mate = await confined('-f 0')
      await mate.call('acquire', at('data'))
      const lock = new PsLock(at('data'))
      const blocked = await mustBlock('we', lock.acquire(), { seen: waitsHere(lock), quietMs: 80 })
      assert.equal(lock.holders()[0]?.pid, mate.pid)
      const held = await blocked.unblock(() => mate.call('release'))
      const wait = mate.call('acquire', at('data'))
      const there = await mustBlock('the mate', wait, { seen: waitsThere(mate, at('data')) })
      await there.unblock(() => held.release())
      assert.equal(lock.tryAcquire(), undefined)
    })
  })

  describe('no descriptor left', () => {
    it('EMFILE is a LockIoError with the cause, nothing is held or leaked, and the same lock works later', async () => {
      const mate = await confined('-n 200')
      // The binding is loaded and the code is compiled while there are descriptors.
      await mate.call('acquire', at('warm'))
      await mate.call('release')
      await mate.call('closeIdleFiles')
      const before = await mate.call('openDescriptors')
      await mate.call('exhaustDescriptors')
      for (let i = 0; i < 3; i++) {
        await assert.rejects(mate.call('acquire', at('data')), {
          code: 'PSLOCK_IO',
          path: at('data.lock'),
          message: /EMFILE/,
        })
      }
      await mate.call('freeDescriptors')
      assert.equal(await mate.call('openDescriptors'), before)
      assert.equal(await mate.call('tryAcquire', at('data')), true)
      assert.equal(new PsLock(at('data')).tryAcquire(), undefined)
      await mate.call('release')
    })

    it('a waiter that can open nothing more still gets the lock, and a timeout still tells', async () => {
      const mate = await confined('-n 200')
      await mate.call('acquire', at('data'))
      await mate.call('release')
      const held = await new PsLock(at('data')).acquire()
      await mate.call('exhaustDescriptors')
      await assert.rejects(mate.call('acquire', at('data'), { timeoutMs: 60 }), { code: 'PSLOCK_TIMEOUT' })
      const wait = mate.call('acquire', at('data'))
      const blocked = await mustBlock('the confined mate', wait, { quietMs: 150 })
      await blocked.unblock(() => held.release())
      assert.equal(new PsLock(at('data')).tryAcquire(), undefined)
      await mate.call('release')
      await mate.call('freeDescriptors')
    })
  })
})
