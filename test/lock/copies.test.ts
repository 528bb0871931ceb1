import assert from 'node:assert/strict'
import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { pathToFileURL } from 'node:url'
import { PsLock } from '../../src/lock/lock.ts'
import { CODE, codeFile, ROOT } from '../fixtures/code.ts'
import { useCrew } from '../fixtures/crew.ts'
import { staysPending, useFolder } from '../fixtures/folder.ts'

/** Two copies of the package in one process (two versions, a bundle): one queue, one context, one kernel lock. */
describe('two copies of the package in one process', () => {
  const crew = useCrew()
  const at = useFolder()
  let copy = ''
  let Other: typeof PsLock

  before(async () => {
    const cache = join(ROOT, 'node_modules/.cache')
    mkdirSync(cache, { recursive: true })
    copy = mkdtempSync(join(cache, 'pslock-copy-'))
    for (const part of [
      ...['src/errors', 'src/arguments', 'src/debug'].map((name) => relative(CODE, codeFile(name))),
      'src/os',
      'src/lock',
    ]) {
      mkdirSync(dirname(join(copy, part)), { recursive: true })
      cpSync(join(CODE, part), join(copy, part), { recursive: true })
    }
    writeFileSync(join(copy, 'package.json'), '{ "type": "module" }')
    const module = await import(pathToFileURL(join(copy, relative(CODE, codeFile('src/lock/lock')))).href)
    Other = module.PsLock
  })

  after(() => rmSync(copy, { recursive: true, force: true }))

  it('they are two copies indeed', () => {
    assert.notEqual(Other, PsLock)
  })

  it('exclude each other', async () => {
    let inside = 0
    let most = 0
    await Promise.all(
      Array.from({ length: 40 }, (_, i) =>
        new (i % 2 === 0 ? PsLock : Other)(at('data')).exclusive(async () => {
          most = Math.max(most, ++inside)
          await new Promise(setImmediate)
          inside--
        }),
      ),
    )
    assert.equal(most, 1)
    const held = await new Other(at('data')).acquire()
    assert.equal(new PsLock(at('data')).tryAcquire(), undefined)
    held.release()
  })

  it('share one queue, first come first served', async () => {
    const held = await new PsLock(at('data')).acquire()
    // Each copy counts by itself how long the event loop has not turned.
    await new Promise(setImmediate)
    const order: number[] = []
    const all = Array.from({ length: 12 }, (_, i) =>
      new (i % 2 === 0 ? Other : PsLock)(at('data')).exclusive(() => order.push(i)),
    )
    held.release()
    await Promise.all(all)
    assert.deepEqual(
      order,
      Array.from({ length: 12 }, (_, i) => i),
    )
  })

  it("re-enter each other's holds, and refuse each other's upgrades", async () => {
    const [ours, theirs] = [
      new PsLock(at('data'), { timeoutMs: 2000 }),
      new Other(at('data'), { timeoutMs: 2000 }),
    ]
    assert.equal(
      await ours.exclusive(() => theirs.exclusive(() => ours.shared(() => 'three deep'))),
      'three deep',
    )
    assert.equal(
      theirs.exclusiveSync(() => ours.exclusiveSync(() => 'sync')),
      'sync',
    )
    await ours.shared(() =>
      assert.rejects(
        theirs.exclusive(() => {}),
        { code: 'PSLOCK_UPGRADE' },
      ),
    )
    const held = await theirs.acquire()
    assert.equal(await held.run(() => ours.exclusive(() => 'inside')), 'inside')
    assert.throws(() => ours.exclusiveSync(() => {}), { code: 'PSLOCK_DEADLOCK' })
    held.release()
  })

  it('the kernel lock stays while either of them is inside', async () => {
    const mate = await crew.process()
    const ours = await new PsLock(at('data')).acquire({ mode: 'shared' })
    const theirs = await new Other(at('data')).acquire({ mode: 'shared' })
    ours.release()
    assert.equal(await mate.call('tryAcquire', at('data')), false)
    theirs.release()
    assert.equal(await mate.call('tryAcquire', at('data')), true)
  })

  it("closing one leaves the other's holds and waits alone", async () => {
    const [ours, theirs] = [new PsLock(at('data')), new Other(at('data'))]
    await ours.exclusive(() => {})
    const held = await theirs.acquire()
    const waiting = theirs.exclusive(() => sleep(1, 'served'))
    await ours.close()
    assert.ok(await staysPending(waiting, 30))
    held.release()
    assert.equal(await waiting, 'served')
  })
})
