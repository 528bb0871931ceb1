import assert from 'node:assert/strict'
import { existsSync, mkdirSync, writeFileSync } from 'node:fs'
import {
  type Doc,
  idsOf,
  runFixture,
  runTool,
  seenByVanilla,
  temporaryFolder,
} from '../../fixtures/nedb-tools.ts'

interface Says {
  error: string
  inserted: number
  phantom: unknown
  again: string
  remove: string
  update: string
  inMemory: Doc[]
  file: string
  together: [string, number, number]
  beforeSpace: string[]
  compactWhenFull: string
  orphan: boolean
  compact: string
  afterSpace: string
  finally: Doc[]
}

describe('a write that fails', () => {
  const file = temporaryFolder()

  async function check(says: Says, errno: string, path: string): Promise<void> {
    const failed = `PSLOCK_STORE_IO ${errno}`
    const expected = ['often', ...Array.from({ length: says.inserted }, (_, n) => `d${n + 1}`)].sort()
    assert.deepEqual([says.error, says.again, says.remove, says.update], [failed, failed, failed, failed])
    assert.equal(says.phantom, null, 'the document that was refused is in memory')
    assert.deepEqual(idsOf(says.inMemory), expected, 'memory differs from what was acknowledged')
    writeFileSync(file('copy.db'), says.file)
    assert.deepEqual(await seenByVanilla(file('copy.db')), says.inMemory, 'the file differs from memory')
    assert.ok(says.file.endsWith('\n'), 'a torn tail was left')
    assert.deepEqual(says.together, [failed, 0, says.inserted + 1])
    assert.deepEqual(says.beforeSpace, expected)
    assert.deepEqual([says.orphan, says.compact, says.afterSpace], [false, 'succeeded', 'succeeded'])
    assert.deepEqual(await seenByVanilla(path), says.finally)
    assert.deepEqual(idsOf(says.finally), ['after', ...expected].sort())
  }

  it('for the size limit of files leaves memory as the file is, and the next operation works', async () => {
    const done = runFixture('nedb-full', [file('a.db')], ['bash', '-c', 'ulimit -f 16; exec "$@"', 'limited'])
    assert.equal(done.code, 0, done.err)
    await check(JSON.parse(done.out), 'EFBIG', file('a.db'))
  })

  it('in a batch, since the event loop had to turn, leaves memory as it was at once', () => {
    const done = runFixture(
      'nedb-refused',
      [file('r.db')],
      ['bash', '-c', 'ulimit -f 1; exec "$@"', 'limited'],
    )
    assert.equal(done.code, 0, done.err)
    const before = [{ _id: 'a', n: 1 }, { _id: 'b' }]
    assert.deepEqual(
      JSON.parse(done.out),
      // The second of two inserts of an id does not say that there is one.
      ['insert', 'blind insert', 'update', 'remove', 'insert twice'].map((name) => [
        name,
        'PSLOCK_STORE_IO',
        'PSLOCK_STORE_IO',
        before,
      ]),
    )
  })

  it('for a full disk leaves memory as the file is, and the next operation works', async function () {
    mkdirSync(file('disk'))
    if (!runTool('mount', '-t', 'tmpfs', '-o', 'size=64k', 'pslock-test', file('disk'))) {
      console.log('      skipped: mounting a small tmpfs is not permitted here')
      return this.skip()
    }
    try {
      writeFileSync(file('disk/ballast'), 'x'.repeat(32_768))
      const done = runFixture('nedb-full', [file('disk/a.db'), file('disk/ballast')])
      assert.equal(done.code, 0, done.err)
      const says = JSON.parse(done.out) as Says
      assert.equal(says.compactWhenFull, 'PSLOCK_STORE_IO ENOSPC')
      await check(says, 'ENOSPC', file('disk/a.db'))
      assert.ok(!existsSync(file('disk/a.db~')))
    } finally {
      runTool('umount', file('disk'))
    }
  })
})
