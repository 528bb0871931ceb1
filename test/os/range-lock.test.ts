import assert from 'node:assert/strict'
import { closeSync, openSync, writeFileSync } from 'node:fs'
import { LockIoError } from '../../src/errors.ts'
import { tryFlock } from '../../src/os/flock.ts'
import { isRangeBlocked, type Range, tryLockRange, unlockRange } from '../../src/os/range-lock.ts'
import { useFolder } from '../fixtures/folder.ts'
import { skipWithoutRangeLocks } from '../fixtures/range-locks.ts'

describe('locks on byte ranges', () => {
  skipWithoutRangeLocks()
  const at = useFolder()
  const open: number[] = []
  const far: Range = { start: 2 ** 41, length: 100 }

  const openFile = (flags = 'r+') => {
    writeFileSync(at('file'), '', { flag: 'a' })
    const fd = openSync(at('file'), flags)
    open.push(fd)
    return fd
  }
  const take = (fd: number, mode: 'exclusive' | 'shared', range: Range) =>
    tryLockRange(fd, mode, range, at('file'))

  afterEach(() => {
    for (const fd of open.splice(0)) closeSync(fd)
  })

  it('two descriptors exclude each other where ranges meet, far behind the end of the file too', () => {
    const [one, other] = [openFile(), openFile()]
    assert.equal(take(one, 'exclusive', far), true)
    assert.equal(take(one, 'exclusive', far), true, 'its own is not in the way')
    assert.equal(take(other, 'shared', { start: far.start + 99, length: 1 }), false)
    assert.equal(take(other, 'shared', { start: far.start + 100, length: 1 }), true)
    assert.equal(isRangeBlocked(other, 'shared', { start: 0, length: 0 }, at('file')), true)
    assert.equal(isRangeBlocked(other, 'shared', { start: 0, length: 10 }, at('file')), false)
    unlockRange(one, { start: far.start + 50, length: 1 }, at('file'))
    assert.equal(take(other, 'exclusive', { start: far.start + 50, length: 1 }), true)
    assert.equal(take(other, 'exclusive', { start: far.start + 49, length: 1 }), false)
  })

  it('shared ones go together; one that cannot be made exclusive stays shared', () => {
    const [one, other, third] = [openFile(), openFile(), openFile('r')]
    assert.deepEqual([take(one, 'shared', far), take(other, 'shared', far)], [true, true])
    assert.equal(take(one, 'exclusive', far), false)
    unlockRange(other, far, at('file'))
    assert.equal(isRangeBlocked(third, 'exclusive', far, at('file')), true)
    assert.equal(take(one, 'exclusive', far), true)
    assert.equal(take(one, 'shared', far), true)
    assert.equal(take(other, 'shared', far), true)
  })

  it('closing the descriptor frees them; flock(2) neither sees them nor is seen', () => {
    const [one, other] = [openFile(), openFile()]
    take(one, 'exclusive', { start: 0, length: 0 })
    assert.equal(tryFlock(other, 'exclusive', at('file')), true)
    assert.equal(take(other, 'shared', far), false)
    closeSync(one)
    open.shift()
    assert.equal(take(other, 'exclusive', far), true)
  })

  it('a closed descriptor, or one that may only read, is an error that says so', () => {
    const readOnly = openFile('r')
    assert.throws(() => take(readOnly, 'exclusive', far), LockIoError)
    assert.throws(() => take(9999, 'shared', far), /EBADF.*permission to write/)
  })
})
