import assert from 'node:assert/strict'
import { existsSync, mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { LockIoError } from '../../src/errors.ts'
import { PsLock } from '../../src/lock/lock.ts'
import { useCrew } from '../fixtures/crew.ts'
import { useFolder } from '../fixtures/folder.ts'
import { mustBlock, waitsThere } from '../fixtures/must-block.ts'

/** NAME_MAX of every file system that matters, in bytes; `.lock` comes on top of the name of the data. */
const NAME_MAX = 255

/** Names of any length and script lock as far as the file system goes, and are refused aloud beyond. */
describe('long names', () => {
  const crew = useCrew()
  const at = useFolder()

  const fitting: [string, string][] = [
    // The lock file fits, but nothing with a longer name beside it.
    ['240 bytes', 'a'.repeat(240)],
    ['246 bytes', 'a'.repeat(246)],
    ['250 bytes: the lock file has the longest name there is', 'a'.repeat(250)],
    ['83 characters of three bytes', '日'.repeat(83)],
    ['62 characters of four bytes', '🔒'.repeat(62)],
    ['a name in a script from right to left', 'קובץ‏נתונים'],
    ['a letter with a combining accent', 'e\u0301tat'],
  ]

  for (const [what, name] of fitting) {
    it(`${what}: excludes, waits and hands over between processes`, async () => {
      const mate = await crew.process()
      const lock = new PsLock(at(name))
      const held = await lock.acquire()
      assert.ok(existsSync(`${at(name)}.lock`))
      assert.equal(await mate.call('tryAcquire', at(name), { mode: 'shared' }), false)
      await assert.rejects(mate.call('acquire', at(name), { timeoutMs: 60 }), { code: 'PSLOCK_TIMEOUT' })
      const wait = mate.call('acquire', at(name))
      const blocked = await mustBlock('the mate', wait, { seen: waitsThere(mate, at(name)), quietMs: 80 })
      await blocked.unblock(() => held.release())
      assert.equal(lock.tryAcquire(), undefined)
      assert.equal(lock.holders()[0]?.pid, mate.pid)
      await mate.call('release')
    })
  }

  const tooLong: [string, (root: string) => string][] = [
    ['a name for which ".lock" no longer fits', (root) => join(root, 'a'.repeat(NAME_MAX - 4))],
    ['a name that does not fit by itself', (root) => join(root, 'a'.repeat(NAME_MAX + 1))],
    [
      'a path beyond what the system takes',
      (root) => join(root, ...Array.from({ length: 50 }, () => 'b'.repeat(100))),
    ],
  ]

  for (const [what, nameOf] of tooLong) {
    it(`${what} is a LockIoError with the cause, in every form`, async () => {
      const lock = new PsLock(nameOf(at()))
      const is = (error: unknown) =>
        error instanceof LockIoError &&
        error.path === lock.path &&
        error.message.includes('ENAMETOOLONG') &&
        (error.cause as NodeJS.ErrnoException).code === 'ENAMETOOLONG'
      await assert.rejects(
        lock.exclusive(() => assert.fail('it ran')),
        is,
      )
      await assert.rejects(lock.acquire(), is)
      assert.throws(() => lock.tryAcquire(), is)
      assert.throws(() => lock.exclusiveSync(() => assert.fail('it ran')), is)
    })
  }

  it('a name for which ".lock" does not fit can be locked by a lockPath', async () => {
    const mate = await crew.process()
    const [name, lockPath] = [at('a'.repeat(NAME_MAX)), at('short.lock')]
    const held = await new PsLock(name, { lockPath }).acquire()
    assert.equal(await mate.call('tryAcquire', name, { lockPath }), false)
    held.release()
  })

  it('a long path of many folders is a path', async () => {
    const deep = at(join(...Array.from({ length: 30 }, (_, i) => `${'c'.repeat(90)}${i}`)))
    mkdirSync(deep, { recursive: true })
    const mate = await crew.process()
    const held = await new PsLock(join(deep, 'data')).acquire()
    assert.equal(await mate.call('tryAcquire', join(deep, 'data')), false)
    held.release()
  })

  it('names that differ only in how they are written are two files, where the file system says so', async () => {
    const [one, two] = [new PsLock(at('e\u0301')), new PsLock(at('\u00e9'))]
    const held = await one.acquire()
    const isOneFile = existsSync(two.path)
    assert.equal(two.tryAcquire() === undefined, isOneFile)
    held.release()
  })
})
