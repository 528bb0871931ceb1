import assert from 'node:assert/strict'
import { closeSync, openSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { tryFlock, unflock } from '../../src/os/flock.ts'
import { kernelHolders, leaveNote } from '../../src/os/lock-owners.ts'
import { monotonicMs } from '../../src/os/processes.ts'
import { useFolder } from '../fixtures/folder.ts'

describe('who has a file locked', () => {
  const at = useFolder()
  let fd = -1

  beforeEach(() => {
    fd = openSync(at('l'), 'w+')
  })
  afterEach(() => closeSync(fd))

  const seen = () => kernelHolders(at('l')).map(({ pid, mode, state }) => [pid, mode, state])

  it('is what the kernel says, whatever notes say', () => {
    assert.deepEqual(seen(), [])
    tryFlock(fd, 'exclusive', 'l')
    assert.deepEqual(seen(), [[process.pid, 'exclusive', 'holding']])
    leaveNote(fd, 'exclusive', monotonicMs() - 1000)
    unflock(fd, 'l')
    assert.deepEqual(seen(), [], 'a note without a lock is no holder')
    tryFlock(fd, 'shared', 'l')
    assert.deepEqual(seen(), [[process.pid, 'shared', 'holding']])
  })

  it('a note gives the age of the hold', () => {
    tryFlock(fd, 'exclusive', 'l')
    assert.equal(kernelHolders(at('l'))[0]?.sinceMs, undefined)
    leaveNote(fd, 'exclusive', monotonicMs() - 5000)
    const since = kernelHolders(at('l'))[0]?.sinceMs
    assert.ok(since !== undefined && since >= 4900 && since < 60_000, String(since))
  })

  it('a note of another process, of an earlier life of this pid, or of no sense gives no age', () => {
    tryFlock(fd, 'exclusive', 'l')
    leaveNote(fd, 'exclusive', monotonicMs())
    const note = JSON.parse(readFileSync(at('l'), 'utf8'))
    const since = monotonicMs() - 5000
    for (const content of [
      JSON.stringify({ ...note, since, pid: 1 }),
      JSON.stringify({ ...note, since, start: '1' }),
      JSON.stringify({ ...note, since: 'yesterday' }),
      'null',
      '[]',
      '"x"',
      '{',
      '',
      '\0'.repeat(500),
    ]) {
      writeFileSync(at('l'), content)
      assert.deepEqual(
        kernelHolders(at('l')).map(({ pid, sinceMs }) => [pid, sinceMs]),
        [[process.pid, undefined]],
        content,
      )
    }
  })

  it('a note is of one size, so that a later one covers an earlier one', () => {
    leaveNote(fd, 'exclusive', monotonicMs())
    const { size } = statSync(at('l'))
    leaveNote(fd, 'shared', 0)
    assert.equal(statSync(at('l')).size, size)
    assert.equal(JSON.parse(readFileSync(at('l'), 'utf8')).since, 0)
  })

  it('a note that cannot be written is no error: the lock does not depend on it', () => {
    const readOnly = openSync(at('l'), 'r')
    leaveNote(readOnly, 'exclusive', 0)
    closeSync(readOnly)
    leaveNote(9999, 'exclusive', 0)
    assert.equal(readFileSync(at('l'), 'utf8'), '')
  })

  it('a file that does not exist has no holders', () => {
    assert.deepEqual(kernelHolders(at('missing')), [])
    assert.deepEqual(kernelHolders(at('missing/deeper')), [])
  })

  it('holders of other files are not ours', () => {
    const other = openSync(at('other'), 'w+')
    tryFlock(other, 'exclusive', 'other')
    assert.deepEqual(seen(), [])
    closeSync(other)
  })
})
