import assert from 'node:assert/strict'
import { merge } from '../../../src/store/json/merge.ts'
import { mergeTable } from '../../fixtures/lowdb-merge-cases.ts'

const a = { id: 1, t: 'a', n: 0 }
const b = { id: 2, t: 'b', n: 0 }
const c = { id: 3, t: 'c', n: 0 }
const newM = { id: 10, t: 'm' }
const newT = { id: 20, t: 't' }

describe('merging arrays of records', () => {
  mergeTable([
    {
      law: 'different records edited by each keep both edits',
      base: [a, b],
      mine: [{ ...a, t: 'A' }, b],
      theirs: [a, { ...b, t: 'B' }],
      gives: [
        { ...a, t: 'A' },
        { ...b, t: 'B' },
      ],
    },
    {
      law: 'different fields of one record edited by each keep both edits',
      base: [a, b],
      mine: [{ ...a, t: 'A' }, b],
      theirs: [{ ...a, n: 1 }, b],
      gives: [{ ...a, t: 'A', n: 1 }, b],
    },
    {
      law: 'the same field of one record edited by both is stale, and the path names the record',
      base: { posts: [a, b] },
      mine: { posts: [a, { ...b, n: 1 }] },
      theirs: { posts: [a, { ...b, n: 1 }] },
      stale: ['posts[id=2].n'],
    },
    {
      law: 'a record edited by one and deleted by the other is stale',
      base: { posts: [a, b] },
      mine: { posts: [{ ...a, t: 'A' }, b] },
      theirs: { posts: [b] },
      stale: ['posts[id=1]'],
    },
    {
      law: 'a record deleted by both is deleted',
      base: [a, b, c],
      mine: [b, c],
      theirs: [b, c],
      gives: [b, c],
    },
    {
      law: 'different records deleted by each are both deleted',
      base: [a, b, c],
      mine: [b, c],
      theirs: [a, b],
      gives: [b],
    },
    {
      law: 'a record deleted by one and another appended by the other keep both changes',
      base: [a, b],
      mine: [b],
      theirs: [a, b, newT],
      gives: [b, newT],
    },
    {
      law: 'records appended by both are both there, theirs first',
      base: [a],
      mine: [a, newM],
      theirs: [a, newT],
      gives: [a, newT, newM],
    },
    {
      law: 'the same new id on both sides is stale, even for equal records',
      base: { posts: [a] },
      mine: { posts: [a, newM] },
      theirs: { posts: [a, newM] },
      stale: ['posts[id=10]'],
    },
    {
      law: 'the same new id appended by one and inserted in front by the other is stale',
      base: { posts: [a] },
      mine: { posts: [a, newM] },
      theirs: { posts: [newM, a] },
      stale: ['posts[id=10]'],
    },
    {
      law: 'an edit of one record and a deletion of another record are both kept',
      base: [a, b, c],
      mine: [a, { ...b, n: 5 }, c],
      theirs: [b, c],
      gives: [{ ...b, n: 5 }, c],
    },
    {
      law: 'a reordering by me keeps the edit of theirs',
      base: [a, b, c],
      mine: [c, a, b],
      theirs: [a, { ...b, n: 1 }, c],
      gives: [c, a, { ...b, n: 1 }],
    },
    {
      law: 'a reordering by them keeps the edit of mine',
      base: [a, b, c],
      mine: [a, { ...b, n: 1 }, c],
      theirs: [c, a, b],
      gives: [c, a, { ...b, n: 1 }],
    },
    {
      law: 'a reordering by one and a deletion by the other are both kept',
      base: [a, b, c],
      mine: [c, b, a],
      theirs: [a, c],
      gives: [c, a],
    },
    {
      law: 'a reordering by both is stale',
      base: { posts: [a, b, c] },
      mine: { posts: [b, a, c] },
      theirs: { posts: [a, c, b] },
      stale: ['posts'],
    },
    {
      law: 'the same reordering by both is stale too',
      base: { posts: [a, b] },
      mine: { posts: [b, a] },
      theirs: { posts: [b, a] },
      stale: ['posts'],
    },
    {
      law: 'an unshift by one and an edit by the other keep both',
      base: [a, b],
      mine: [newM, a, b],
      theirs: [a, { ...b, t: 'B' }],
      gives: [newM, a, { ...b, t: 'B' }],
    },
    {
      law: 'unshifts by both keep both, theirs first',
      base: [a],
      mine: [newM, a],
      theirs: [newT, a],
      gives: [newT, newM, a],
    },
    {
      law: 'a new record keeps its place in my reordering beside their new record',
      base: [a, b],
      mine: [b, newM, a],
      theirs: [a, newT, b],
      gives: [b, newM, a, newT],
    },
    {
      law: 'an insertion in the middle keeps its place beside their edit',
      base: [a, b],
      mine: [a, newM, b],
      theirs: [{ ...a, n: 1 }, b],
      gives: [{ ...a, n: 1 }, newM, b],
    },
    {
      law: 'an edit of an appended-to array: my append, their edit',
      base: [a],
      mine: [a, newM],
      theirs: [{ ...a, n: 1 }],
      gives: [{ ...a, n: 1 }, newM],
    },
    {
      law: 'a record I edited while I appended, and another they edited, keep everything',
      base: [a, b],
      mine: [{ ...a, n: 1 }, b, newM],
      theirs: [a, { ...b, n: 1 }, newT],
      gives: [{ ...a, n: 1 }, { ...b, n: 1 }, newT, newM],
    },
  ])
  it('merges tens of thousands of records without taking longer for each one more', () => {
    const records = (count: number) => Array.from({ length: count }, (_, id) => ({ id, m: 0, t: 0 }))
    const time = (count: number) => {
      const [base, mine, theirs] = [records(count), records(count), records(count)]
      mine[0]!.m = 1
      mine.splice(10, 1)
      theirs[count - 1]!.t = 1
      theirs.unshift({ id: -1, m: 0, t: 0 })
      const start = performance.now()
      const result = merge(base, mine, theirs)
      const took = performance.now() - start
      assert.ok('merged' in result)
      const merged = result.merged as typeof base
      assert.equal(merged.length, count)
      assert.deepEqual([merged[0]?.id, merged[1]?.m, merged.at(-1)?.t], [-1, 1, 1])
      return took
    }
    time(2000)
    const [few, many] = [Math.min(time(5000), time(5000), time(5000)), Math.min(time(80_000), time(80_000))]
    // 16 times as many; quadratic would be 256 times as long.
    assert.ok(many < few * 100, `5000 took ${few} ms, 80000 took ${many} ms`)
  })
})
