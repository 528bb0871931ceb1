import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { chmodSync, existsSync, mkdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { LockIoError, LockUnsupportedError } from '../../src/errors.ts'
import { PsLock } from '../../src/lock/lock.ts'
import { fixture } from '../fixtures/code.ts'
import { useCrew } from '../fixtures/crew.ts'
import { useFolder } from '../fixtures/folder.ts'

/** Law 11: what cannot be locked is a typed error that says what to do, and is left as it is. */
describe('what cannot be locked', () => {
  const crew = useCrew()
  const at = useFolder()

  /** Every form refuses with this error, and runs nothing. */
  async function assertRefused(
    lock: PsLock,
    type: new (...args: never[]) => Error,
    text: RegExp,
  ): Promise<void> {
    const is = (error: unknown) => error instanceof type && text.test(error.message) && 'path' in error
    await assert.rejects(
      lock.exclusive(() => assert.fail('it ran')),
      is,
    )
    await assert.rejects(lock.acquire({ mode: 'shared' }), is)
    assert.throws(() => lock.tryAcquire(), is)
    assert.throws(() => lock.exclusiveSync(() => assert.fail('it ran')), is)
  }

  it('a folder in the place of the lock file is unsupported, with proper-lockfile named as the suspect', async () => {
    mkdirSync(at('data.lock'))
    await assertRefused(new PsLock(at('data')), LockUnsupportedError, /data\.lock.*folder.*proper-lockfile/s)
    assert.ok(statSync(at('data.lock')).isDirectory())
  })

  it('a link in the place of the lock file is unsupported and not followed', async () => {
    writeFileSync(at('precious'), 'content')
    symlinkSync(at('precious'), at('data.lock'))
    await assertRefused(new PsLock(at('data')), LockUnsupportedError, /data\.lock.*link/s)
    assert.equal(readFileSync(at('precious'), 'utf8'), 'content')
    symlinkSync(at('nowhere'), at('other.lock'))
    await assertRefused(new PsLock(at('other')), LockUnsupportedError, /other\.lock.*link/s)
    assert.equal(existsSync(at('nowhere')), false)
  })

  it('a pipe in the place of the lock file is unsupported, not a hang', async function () {
    if (spawnSync('sh', ['-c', 'mkfifo "$0"', at('data.lock')]).status !== 0) this.skip()
    await assertRefused(new PsLock(at('data')), LockUnsupportedError, /not a regular file/)
  })

  it('a missing folder is a LockIoError that says so, and the same lock works once it exists', async () => {
    const lock = new PsLock(at('missing/data'))
    await assertRefused(lock, LockIoError, /missing.*does not exist/s)
    assert.equal(existsSync(at('missing')), false, 'it is not our folder to make')
    mkdirSync(at('missing'))
    assert.equal(await lock.exclusive(() => 'in'), 'in')
    assert.equal(lock.path, at('missing/data.lock'))
  })

  it('a file in the place of the folder is a LockIoError', async () => {
    writeFileSync(at('file'), '')
    await assertRefused(new PsLock(at('file/data')), LockIoError, /file/)
  })

  describe('of another user (permissions do not bind root: the other process is user 65534)', () => {
    const isRoot = process.getuid?.() === 0
    const stranger = isRoot ? { uid: 65534, gid: 65534 } : {}

    before(function () {
      const worker = fixture('lock-worker')
      const probe = ['-e', 'require("fs").accessSync(process.argv[1], 4)', worker]
      if (spawnSync(process.execPath, probe, { ...stranger, stdio: 'ignore' }).status !== 0) {
        console.log('        skipped: user 65534 may not read this checkout')
        this.skip()
      }
    })

    it('a read-only lock file still locks, both ways', async () => {
      writeFileSync(at('data.lock'), '')
      chmodSync(at('data.lock'), 0o444)
      chmodSync(at(), 0o755)
      const mate = await crew.process(stranger)
      const lock = new PsLock(at('data'))
      const held = await lock.acquire()
      assert.equal(await mate.call('tryAcquire', at('data')), false)
      const waiting = mate.call('acquire', at('data'), { timeoutMs: 20_000 })
      held.release()
      await waiting
      assert.equal(lock.tryAcquire(), undefined)
      await mate.call('release')
    })

    it('a folder that may not be written is a LockIoError that names lockPath', async () => {
      chmodSync(at(), 0o555)
      const mate = await crew.process(stranger)
      const wanted = { isPsLockError: true, code: 'PSLOCK_IO', message: /lockPath/ }
      await assert.rejects(mate.call('acquire', at('data')), wanted)
      chmodSync(at(), 0o755)
    })

    it('a lock file that may not even be read is a LockIoError', async () => {
      writeFileSync(at('data.lock'), '')
      chmodSync(at('data.lock'), 0o000)
      chmodSync(at(), 0o755)
      const mate = await crew.process(stranger)
      await assert.rejects(mate.call('acquire', at('data')), { code: 'PSLOCK_IO', path: at('data.lock') })
    })
  })
})
