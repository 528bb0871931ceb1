import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { pathToFileURL } from 'node:url'
import { PsLock } from '../../src/lock/lock.ts'
import { useFolder } from '../fixtures/folder.ts'

/** Wrong arguments are a TypeError that names the argument and shows what came, before anything happens. */
describe('arguments', () => {
  const at = useFolder()

  const wrongDurations: [unknown, RegExp][] = [
    [Number.NaN, /NaN/],
    [-1, /-1/],
    [Number.NEGATIVE_INFINITY, /-Infinity/],
    ['50', /"50"/],
    [null, /null/],
    [10n, /10/],
    [{}, /Object/],
    [() => 1, /function/],
  ]

  for (const [value, shown] of wrongDurations) {
    it(`timeoutMs ${typeof value} ${String(value)} is refused everywhere, shown as it came`, async () => {
      const is = (error: unknown) =>
        error instanceof TypeError && /timeoutMs/.test(error.message) && shown.test(error.message)
      const options = { timeoutMs: value as number }
      const lock = new PsLock(at('data'))
      const never = () => assert.fail('it ran')
      assert.throws(() => new PsLock(at('data'), options), is)
      await assert.rejects(lock.exclusive(never, options), is)
      await assert.rejects(lock.shared(never, options), is)
      await assert.rejects(lock.acquire(options), is)
      assert.throws(() => lock.exclusiveSync(never, options), is)
      assert.throws(() => lock.sharedSync(never, options), is)
      assert.throws(() => lock.acquireSync(options), is)
      lock.tryAcquire()!.release()
    })
  }

  it('undefined options are no options', async () => {
    const lock = new PsLock(at('data'), { timeoutMs: undefined, lockPath: undefined, sliceMs: undefined })
    await lock.exclusive(() => {}, { timeoutMs: undefined, signal: undefined })
    ;(await lock.acquire({ mode: undefined })).release()
  })

  for (const value of [
    undefined,
    null,
    '',
    0,
    Buffer.from([0x78, 0xff]),
    new URL('http://x/'),
    'a\0b',
    ['x'],
  ]) {
    it(`the path ${JSON.stringify(value) ?? 'undefined'} is refused, and so is such a lockPath`, () => {
      assert.throws(
        () => new PsLock(value as string),
        (error) => error instanceof TypeError && /path/.test(error.message),
      )
      if (value === undefined) return
      assert.throws(
        () => new PsLock(at('data'), { lockPath: value as string }),
        (error) => error instanceof TypeError && /lockPath/.test(error.message),
      )
    })
  }

  it('a file: URL and bytes are paths like any other', async () => {
    const path = new PsLock(at('data')).path
    for (const given of [pathToFileURL(at('data')), Buffer.from(at('data'))]) {
      assert.equal(new PsLock(given).path, path)
      assert.equal(new PsLock(at('other'), { lockPath: given }).path, at('data'))
    }
  })

  it('a mode that is none is refused with its value', async () => {
    const lock = new PsLock(at('data'))
    const is = (error: unknown) => error instanceof TypeError && /mode.*write/.test(error.message)
    const mode = 'write' as 'shared'
    await assert.rejects(lock.acquire({ mode }), is)
    assert.throws(() => lock.tryAcquire({ mode }), is)
    assert.throws(() => lock.acquireSync({ mode }), is)
  })

  it('run must be a function', async () => {
    const lock = new PsLock(at('data'))
    const run = 'not me' as unknown as () => void
    const is = (error: unknown) => error instanceof TypeError && /run.*not me/.test(error.message)
    await assert.rejects(lock.exclusive(run), is)
    await assert.rejects(lock.shared(run), is)
    assert.throws(() => lock.exclusiveSync(run), is)
    assert.throws(() => lock.sharedSync(run), is)
    const held = await lock.acquire()
    await assert.rejects(held.run(run), is)
    held.release()
  })

  for (const value of ['abort', 1, {}, new AbortController()]) {
    it(`a signal that is none is refused with its value: ${typeof value === 'object' ? value.constructor.name : value}`, async () => {
      const lock = new PsLock(at('data'))
      const options = { signal: value as AbortSignal }
      const is = (error: unknown) =>
        error instanceof TypeError &&
        /signal must be an AbortSignal/.test(error.message) &&
        /"abort"|1|Object|AbortController/.test(error.message)
      await assert.rejects(
        lock.exclusive(() => assert.fail('it ran'), options),
        is,
      )
      await assert.rejects(lock.acquire(options), is)
      assert.throws(() => lock.acquireSync(options), is)
    })
  }

  it('making a lock, and refusing an argument, opens and creates nothing', async () => {
    const lock = new PsLock(at('data'))
    assert.equal(typeof lock.path, 'string')
    await assert.rejects(lock.acquire({ timeoutMs: -1 }), TypeError)
    assert.equal(existsSync(at('data.lock')), false)
    assert.equal(existsSync(at('data')), false)
  })
})
