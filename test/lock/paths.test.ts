import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import {
  chmodSync,
  existsSync,
  linkSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { LockIoError, LockUnsupportedError } from '../../src/errors.ts'
import { PsLock } from '../../src/lock/ps-lock.ts'
import { useCrew } from '../fixtures/crew.ts'
import { useFolder } from '../fixtures/folder.ts'

/** Where the lock file is, and what is said where it cannot be. */
describe('paths', () => {
  const crew = useCrew()
  const at = useFolder()

  /** Two names are one lock. */
  async function assertSame(one: PsLock, two: PsLock): Promise<void> {
    assert.equal(one.path, two.path)
    const held = await one.acquire()
    assert.equal(two.tryAcquire(), undefined)
    held.release()
    two.tryAcquire()!.release()
  }

  it('the lock file is beside the data, which need not exist and is not touched', async () => {
    const lock = new PsLock(at('data'))
    await lock.exclusive(() => {})
    assert.equal(lock.path, at('data.lock'))
    assert.deepEqual(
      readdirSync(at()).filter((name) => !name.endsWith('.turn')),
      ['data.lock'],
    )
    writeFileSync(at('data'), 'content')
    await lock.exclusive(() => {})
    assert.equal(readFileSync(at('data'), 'utf8'), 'content')
  })

  it('a path that ends in .lock is the lock file itself', async () => {
    const lock = new PsLock(at('mine.lock'))
    assert.equal(lock.path, at('mine.lock'))
    await assertSame(lock, new PsLock(at('mine')))
    assert.equal(existsSync(at('mine.lock.lock')), false)
  })

  it('lockPath puts it elsewhere, for every process that names the same', async () => {
    mkdirSync(at('locks'))
    const mate = await crew.process()
    const lock = new PsLock(at('data'), { lockPath: at('locks/l') })
    assert.equal(lock.path, at('locks/l'))
    await mate.call('acquire', at('data'), { lockPath: at('locks/l') })
    assert.equal(lock.tryAcquire(), undefined)
    assert.equal(existsSync(at('data.lock')), false)
    await mate.call('release')
    lock.tryAcquire()!.release()
  })

  it('relative, dotted and linked names of one file are one lock', async () => {
    mkdirSync(at('real'))
    writeFileSync(at('real/data'), '')
    symlinkSync(at('real'), at('folder'))
    symlinkSync(at('real/data'), at('link'))
    symlinkSync('link', at('link-to-link'))
    const lock = new PsLock(at('real/data'))
    const names = [
      relative(process.cwd(), at('real/data')),
      `${at()}/real/../real/./data`,
      at('folder/data'),
      at('link'),
      at('link-to-link'),
    ]
    for (const name of names) await assertSame(lock, new PsLock(name))
  })

  it('a dangling link and the file it will point to are one lock', async () => {
    mkdirSync(at('real'))
    symlinkSync(at('real'), at('folder'))
    symlinkSync('folder/data', at('link'))
    await assertSame(new PsLock(at('real/data')), new PsLock(at('link')))
    await assertSame(new PsLock(at('real/data')), new PsLock(at('folder/data')))
  })

  it('a link to a file that ends in .lock is the same lock as that file', async () => {
    writeFileSync(at('store.lock'), '')
    symlinkSync(at('store.lock'), at('alias'))
    await assertSame(new PsLock(at('store.lock')), new PsLock(at('alias')))
  })

  it('a link that ends in .lock, to a data file, does not lock the data file itself', async () => {
    writeFileSync(at('data.json'), '')
    symlinkSync(at('data.json'), at('alias.lock'))
    await assertSame(new PsLock(at('data.json')), new PsLock(at('alias.lock')))
  })

  it('a relative path means the folder in which the lock was made, whatever chdir comes later', () => {
    const before = process.cwd()
    mkdirSync(at('elsewhere'))
    try {
      process.chdir(at())
      const lock = new PsLock('data')
      process.chdir(at('elsewhere'))
      lock.exclusiveSync(() => {})
      assert.deepEqual([existsSync(at('data.lock')), existsSync(at('elsewhere/data.lock'))], [true, false])
    } finally {
      process.chdir(before)
    }
  })

  it('a folder may be guarded as well as a file', async () => {
    mkdirSync(at('dir'))
    await assertSame(new PsLock(at('dir')), new PsLock(`${at('dir')}/`))
    assert.equal(new PsLock(at('dir')).path, at('dir.lock'))
  })

  it('odd names are names', async () => {
    for (const name of [
      'with space',
      'new\nline',
      'ümlaut',
      '日本',
      '-rf',
      '%s',
      "quote'",
      'a'.repeat(240),
    ]) {
      const lock = new PsLock(at(name))
      const held = await lock.acquire()
      assert.equal(lock.holders()[0]?.pid, process.pid)
      held.release()
    }
  })

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
    await assertSame(lock, new PsLock(at('missing/data')))
  })

  it('a file in the place of the folder is a LockIoError', async () => {
    writeFileSync(at('file'), '')
    await assertRefused(new PsLock(at('file/data')), LockIoError, /file/)
  })

  it('a hard link of the lock file is the same lock', async () => {
    const lock = new PsLock(at('data'))
    await lock.exclusive(() => {})
    linkSync(at('data.lock'), at('other.lock'))
    const held = await lock.acquire()
    const mate = await crew.process()
    assert.equal(await mate.call('tryAcquire', at('other')), false)
    held.release()
  })

  for (const [mode, umask] of [
    [0o660, 0o022],
    [0o644, 0o077],
    [0o600, 0o000],
  ] as const) {
    it(`a new lock file has the permissions of the data, ${mode.toString(8)}, whatever the umask`, async () => {
      writeFileSync(at('data'), '')
      chmodSync(at('data'), mode)
      const before = process.umask(umask)
      try {
        await new PsLock(at('data')).exclusive(() => {})
      } finally {
        process.umask(before)
      }
      assert.equal((statSync(at('data.lock')).mode & 0o777).toString(8), mode.toString(8))
    })
  }

  describe('of another user (permissions do not bind root: the other process is user 65534)', () => {
    const isRoot = process.getuid?.() === 0
    const stranger = isRoot ? { uid: 65534, gid: 65534 } : {}

    before(function () {
      const fixture = fileURLToPath(new URL('../fixtures/lock-worker.ts', import.meta.url))
      const probe = ['-e', 'require("fs").accessSync(process.argv[1], 4)', fixture]
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
