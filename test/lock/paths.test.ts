import assert from 'node:assert/strict'
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
import { PsLock } from '../../src/lock/lock.ts'
import { useCrew } from '../fixtures/crew.ts'
import { useFolder } from '../fixtures/folder.ts'

/** Where the lock file is: one for all names of one file. */
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
})
