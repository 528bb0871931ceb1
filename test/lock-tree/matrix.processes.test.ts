import assert from 'node:assert/strict'
import type { TreeLockMode } from '../../src/errors.ts'
import { LockTree } from '../../src/lock-tree/lock-tree.ts'
import { useCrew } from '../fixtures/crew.ts'
import { useFolder } from '../fixtures/folder.ts'
import { skipWithoutRangeLocks } from '../fixtures/range-locks.ts'

const MODES: TreeLockMode[] = [
  'intent-shared',
  'intent-exclusive',
  'shared',
  'shared-intent-exclusive',
  'exclusive',
]

/** Gray's table, written out once more: a row is what is held, a column what is asked for. */
const TABLE = `
  + + + + -
  + + - - -
  + - + - -
  + - - - -
  - - - - -`
  .trim()
  .split('\n')
  .map((row) => row.trim().split(' '))

function granted(held: TreeLockMode, asked: TreeLockMode): boolean {
  return TABLE[MODES.indexOf(held)]?.[MODES.indexOf(asked)] === '+'
}

describe('LockTree: all 25 pairs of modes', () => {
  skipWithoutRangeLocks()
  const crew = useCrew()
  const at = useFolder()

  for (const held of MODES) {
    it(`${held}: what another process gets beside it, and that kill -9 frees it`, async () => {
      const tree = new LockTree(at('db'))
      const mate = await crew.process()
      await mate.call('treeAcquire', at('db'), 'app', { mode: held })
      for (const asked of MODES) {
        const got = tree.tryAcquire('app', { mode: asked })
        assert.equal(got !== undefined, granted(held, asked), `${asked} beside ${held}`)
        got?.release()
      }
      await mate.signal('SIGKILL')
      tree.tryAcquire('app')!.release()
      assert.deepEqual(tree.holders(), [])
    })

    it(`${held}: what another task of the same process gets beside it`, () => {
      const tree = new LockTree(at('db'))
      for (const asked of MODES) {
        const first = tree.tryAcquire('app', { mode: held })!
        const second = tree.tryAcquire('app', { mode: asked })
        assert.equal(second !== undefined, granted(held, asked), `${asked} beside ${held}`)
        // In either order, and neither release takes the other's hold with it.
        if (second) {
          first.release()
          assert.equal(tree.tryAcquire('app', { mode: 'exclusive' }), undefined)
          second.release()
        } else {
          first.release()
        }
        tree.tryAcquire('app')!.release()
      }
    })
  }

  it('a mode stands for intentions above, and covers all below', () => {
    const tree = new LockTree(at('db'))
    const cells: [TreeLockMode, string, TreeLockMode, boolean][] = [
      ['shared', 'app/orders', 'shared', true],
      ['shared', 'app/orders', 'intent-exclusive', true],
      ['shared', 'app/orders', 'shared-intent-exclusive', true],
      ['shared', 'app/orders', 'exclusive', false],
      ['exclusive', 'app/orders', 'shared', false],
      ['exclusive', 'app/orders', 'intent-exclusive', true],
      ['exclusive', 'app/orders', 'intent-shared', true],
      ['exclusive', 'app/orders', 'shared-intent-exclusive', false],
    ]
    for (const [mode, below, above, expected] of cells) {
      for (const [[one, how], [other, asked]] of [
        [
          [below, mode],
          ['app', above],
        ],
        [
          ['app', above],
          [below, mode],
        ],
      ] as const) {
        const first = tree.tryAcquire(one, { mode: how })!
        const second = tree.tryAcquire(other, { mode: asked })
        assert.equal(second !== undefined, expected, `${asked} of ${other} beside ${how} of ${one}`)
        second?.release()
        first.release()
      }
    }
  })
})
