import assert from 'node:assert/strict'
import {
  existsSync,
  lstatSync,
  mkdirSync,
  rmdirSync,
  symlinkSync,
  unlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { LockIoError, LockLostError, LockUnsupportedError, type PsLockError } from '../../src/errors.ts'
import { isNotOurs, LockFolder, OwnedFolder } from '../../src/lock/lockfile-backend.ts'
import { until, useFolder } from '../fixtures/folder.ts'

const STALE_MS = 2_000

describe('lock folder', () => {
  const at = useFolder()
  const reported: PsLockError[] = []
  const folders: LockFolder[] = []
  const newFolder = () => {
    const folder = new LockFolder(at('l'), STALE_MS, (error) => reported.push(error))
    folders.push(folder)
    return folder
  }

  afterEach(() => {
    for (const folder of folders.splice(0)) folder.close()
    reported.length = 0
  })

  it('exists while it is locked, and gives nothing back twice', () => {
    const folder = newFolder()
    folder.unlock()
    assert.equal(folder.tryLock(), true)
    assert.ok(lstatSync(at('l')).isDirectory())
    folder.verify()
    folder.unlock()
    folder.unlock()
    folder.close()
    assert.equal(existsSync(at('l')), false)
    assert.equal(folder.tryLock(), true)
    assert.deepEqual(reported, [])
  })

  it('is busy where a folder of that name is fresh, whoever made it', () => {
    mkdirSync(at('l'))
    assert.equal(newFolder().tryLock(), false)
    assert.equal(newFolder().holders().length, 1)
  })

  it('takes over a stale one, which counts as nobody', () => {
    mkdirSync(at('l'))
    utimesSync(at('l'), 1, Date.now() / 1000 - STALE_MS / 1000 - 1)
    const folder = newFolder()
    assert.deepEqual(folder.holders(), [])
    assert.equal(folder.tryLock(), true)
    assert.ok(Date.now() - lstatSync(at('l')).mtimeMs < 1000)
  })

  it('a takeover whose process died in the middle holds up the next one until it is stale itself', () => {
    for (const name of ['l', 'l.takeover']) mkdirSync(at(name))
    utimesSync(at('l'), 1, 1)
    const folder = newFolder()
    assert.equal(folder.tryLock(), false)
    utimesSync(at('l.takeover'), 1, 1)
    assert.equal(folder.tryLock(), false, 'it clears the way')
    assert.equal(folder.tryLock(), true)
    assert.equal(existsSync(at('l.takeover')), false)
  })

  it('verify finds a folder that is gone, replaced or touched by somebody else, and reports it once', () => {
    for (const change of [
      () => rmdirSync(at('l')),
      () => {
        rmdirSync(at('l'))
        mkdirSync(at('l'))
      },
      () => {
        const { mtimeMs } = lstatSync(at('l'))
        rmdirSync(at('l'))
        mkdirSync(at('l'))
        // As another process of the same second would sign it, but for its own part below the milliseconds.
        utimesSync(at('l'), 1, Math.floor(mtimeMs) / 1000 + 0.00045)
      },
    ]) {
      const folder = newFolder()
      assert.equal(folder.tryLock(), true)
      assert.equal(reported.length, 0)
      change()
      const stood = existsSync(at('l'))
      folder.verify()
      folder.verify()
      folder.unlock()
      assert.ok(folder.failure instanceof LockLostError)
      assert.deepEqual(reported.splice(0), [folder.failure])
      assert.equal(existsSync(at('l')), stood, 'what is not ours is left alone')
      if (stood) rmdirSync(at('l'))
    }
  })

  it('the heartbeat keeps it fresh, and reports a loss by itself', async () => {
    const folder = newFolder()
    folder.tryLock()
    const { mtimeMs } = lstatSync(at('l'))
    await until('it is renewed', () => lstatSync(at('l')).mtimeMs !== mtimeMs)
    folder.verify()
    assert.equal(reported.length, 0)
    rmdirSync(at('l'))
    await until('the loss is reported', () => reported.length > 0)
    const [error] = reported
    assert.ok(error instanceof LockLostError && error.cause instanceof Error)
    assert.equal(error, folder.failure)
  })

  it('refuses a file, a link to a folder and a dangling link of that name, and leaves them as they are', () => {
    mkdirSync(at('folder'))
    for (const make of [
      () => writeFileSync(at('l'), 'content'),
      () => symlinkSync(at('folder'), at('l')),
      () => symlinkSync(at('nowhere'), at('l')),
    ]) {
      make()
      // Old enough to be stale, were it a lock.
      const { mode } = lstatSync(at('l'))
      assert.throws(() => newFolder().tryLock(), LockUnsupportedError)
      assert.equal(lstatSync(at('l')).mode, mode)
      unlinkSync(at('l'))
    }
  })

  it('where it cannot be made it says what to do', () => {
    const folder = new LockFolder(at('missing/l'), STALE_MS, () => {})
    assert.throws(
      () => folder.tryLock(),
      (error) => error instanceof LockIoError && /missing does not exist/.test(error.message),
    )
  })
})

/** What proper-lockfile calls, in the order in which it does, with a stop of the process in between. */
describe('owned folder', () => {
  const at = useFolder()
  const newOwned = () => {
    const folder = new OwnedFolder(at('l'), 400)
    return { folder, calls: folder.calls as typeof import('node:fs') }
  }

  it('does not sign a folder that may have been taken over since it was made', async () => {
    const { calls } = newOwned()
    calls.mkdirSync(at('l'))
    await sleep(120)
    const { mtimeMs } = lstatSync(at('l'))
    assert.throws(() => calls.utimesSync(at('l'), new Date(), new Date()), isNotOurs)
    assert.equal(lstatSync(at('l')).mtimeMs, mtimeMs)
    assert.throws(() => calls.rmdirSync(at('l')), isNotOurs)
  })

  it('two signatures of one millisecond differ, and proper-lockfile sees the millisecond', () => {
    const { calls } = newOwned()
    const date = new Date('2026-01-01T00:00:00.005Z')
    const signatures = Array.from({ length: 8 }, () => {
      calls.mkdirSync(at('l'))
      calls.utimesSync(at('l'), date, date)
      assert.equal(calls.statSync(at('l')).mtime.getTime(), date.getTime())
      const { mtimeNs } = lstatSync(at('l'), { bigint: true })
      calls.rmdirSync(at('l'))
      return mtimeNs
    })
    assert.ok(new Set(signatures).size >= 7, `${signatures}`)
  })

  it('removes the stale folder that it looked at, not one that came into its place', () => {
    const { calls } = newOwned()
    mkdirSync(at('l'))
    calls.statSync(at('l'))
    utimesSync(at('l'), 1, 1)
    assert.throws(() => calls.rmdirSync(at('l')), isNotOurs)
    calls.statSync(at('l'))
    calls.rmdirSync(at('l'))
    assert.equal(existsSync(at('l')), false)
  })
})
