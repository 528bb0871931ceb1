import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import {
  linkSync,
  mkdirSync,
  renameSync,
  rmSync,
  symlinkSync,
  unlinkSync,
  watch,
  writeFileSync,
} from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { PsLock } from '../../src/lock/lock.ts'
import { useCrew } from '../fixtures/crew.ts'
import { useFolder } from '../fixtures/folder.ts'

/** The lock of a file is beside its name, so what the name means decides who excludes whom. */
describe('names of one file', () => {
  const crew = useCrew()
  const at = useFolder()

  /** Every way to take a lock. */
  const ways: Record<string, (lock: PsLock) => unknown> = {
    exclusive: (lock) => lock.exclusive(() => {}),
    shared: (lock) => lock.shared(() => {}),
    acquire: async (lock) => (await lock.acquire()).release(),
    tryAcquire: async (lock) => lock.tryAcquire()?.release(),
    exclusiveSync: async (lock) => lock.exclusiveSync(() => {}),
    sharedSync: async (lock) => lock.sharedSync(() => {}),
    acquireSync: async (lock) => lock.acquireSync().release(),
  }

  for (const [way, take] of Object.entries(ways)) {
    it(`hard links are refused by ${way}, under every name, but with a lockPath`, async () => {
      writeFileSync(at('one'), '')
      linkSync(at('one'), at('two'))
      symlinkSync(at('two'), at('link'))
      for (const name of ['one', 'two', 'link']) {
        await assert.rejects(async () => take(new PsLock(at(name))), {
          code: 'PSLOCK_UNSUPPORTED',
          message: /2 hard links.*lockPath/,
        })
      }
      await take(new PsLock(at('one'), { lockPath: at('common.lock') }))
    })
  }

  it('a hard link that is made later is noticed by who has the lock open', async () => {
    writeFileSync(at('one'), '')
    const lock = new PsLock(at('one'))
    await lock.exclusive(() => {})
    linkSync(at('one'), at('two'))
    await assert.rejects(
      lock.exclusive(() => {}),
      { code: 'PSLOCK_UNSUPPORTED' },
    )
    unlinkSync(at('two'))
    await lock.exclusive(() => {})
  })

  it('links to a folder are none', async () => {
    mkdirSync(at('dir'))
    symlinkSync(at('dir'), at('link'))
    await new PsLock(at('dir')).exclusive(() => {})
    await new PsLock(at('link')).exclusive(() => {})
  })

  it('a single file that is mounted under this name is refused, but with a lockPath', async function () {
    if (process.getuid?.() !== 0) return this.skip()
    writeFileSync(at('data'), '')
    writeFileSync(at('mounted'), '')
    try {
      execFileSync('mount', ['--bind', at('data'), at('mounted')], { stdio: 'ignore' })
    } catch {
      console.log('        skipped: nothing can be mounted here')
      return this.skip()
    }
    try {
      await assert.rejects(
        new PsLock(at('mounted')).exclusive(() => {}),
        { code: 'PSLOCK_UNSUPPORTED', message: /bind mount/ },
      )
      await new PsLock(at('mounted'), { lockPath: at('common.lock') }).exclusive(() => {})
    } finally {
      execFileSync('umount', [at('mounted')])
    }
  })

  for (const [way, take] of Object.entries(ways)) {
    it(`a symbolic link that was replaced by a file is followed no more by ${way}`, async () => {
      writeFileSync(at('real'), '')
      symlinkSync(at('real'), at('data'))
      const lock = new PsLock(at('data'))
      await take(lock)
      assert.equal(lock.path, at('real.lock'))
      // The atomic save of an editor.
      writeFileSync(at('data.tmp'), '')
      renameSync(at('data.tmp'), at('data'))
      await take(lock)
      assert.equal(lock.path, at('data.lock'))
      const mate = await crew.process()
      await mate.call('acquire', at('data'))
      assert.equal(lock.tryAcquire(), undefined)
      await mate.call('release')
    })
  }

  it('a file that was replaced by a symbolic link is followed from then on', async () => {
    writeFileSync(at('data'), '')
    writeFileSync(at('real'), '')
    const lock = new PsLock(at('data'))
    await lock.exclusive(() => {})
    rmSync(at('data'))
    symlinkSync(at('real'), at('data'))
    await lock.exclusive(() => {})
    assert.equal(lock.path, at('real.lock'))
  })

  it('while it is held the lock stays where it is', async () => {
    writeFileSync(at('real'), '')
    symlinkSync(at('real'), at('data'))
    const lock = new PsLock(at('data'))
    const held = await lock.acquire()
    rmSync(at('data'))
    writeFileSync(at('data'), '')
    assert.equal(lock.path, at('real.lock'))
    assert.equal(lock.tryAcquire(), undefined)
    held.release()
    await lock.exclusive(() => {})
    assert.equal(lock.path, at('data.lock'))
  })

  it('holds change nothing in the folder, so who watches it is not woken', async () => {
    mkdirSync(at('dir'))
    const lock = new PsLock(at('dir/data'))
    await lock.shared(() => {})
    const events: string[] = []
    const watcher = watch(at('dir'), (event, name) => events.push(`${event} ${name}`))
    await sleep(50)
    for (let i = 0; i < 5; i++) await lock.shared(() => sleep(80))
    for (let i = 0; i < 2; i++) await lock.exclusive(() => sleep(80))
    await sleep(50)
    watcher.close()
    assert.deepEqual(events, [])
  })
})
