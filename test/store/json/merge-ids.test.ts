import { mergeTable } from '../../fixtures/lowdb-merge-cases.ts'

const a = { id: 1, t: 'a', n: 0 }
const b = { id: 2, t: 'b', n: 0 }

describe('what identifies a record in a merge', () => {
  mergeTable([
    {
      law: '_id identifies as id does',
      base: [{ _id: 'x', n: 0, m: 0 }],
      mine: [{ _id: 'x', n: 1, m: 0 }],
      theirs: [{ _id: 'x', n: 0, m: 1 }],
      gives: [{ _id: 'x', n: 1, m: 1 }],
    },
    {
      law: 'ids 1 and "1" are two records',
      base: [
        { id: 1, n: 0 },
        { id: '1', n: 0 },
      ],
      mine: [
        { id: 1, n: 1 },
        { id: '1', n: 0 },
      ],
      theirs: [
        { id: 1, n: 0 },
        { id: '1', n: 2 },
      ],
      gives: [
        { id: 1, n: 1 },
        { id: '1', n: 2 },
      ],
    },
    {
      law: 'the ids 0 and "" identify records',
      base: [
        { id: 0, n: 0 },
        { id: '', n: 0 },
      ],
      mine: [
        { id: 0, n: 1 },
        { id: '', n: 0 },
      ],
      theirs: [
        { id: 0, n: 0 },
        { id: '', n: 1 },
      ],
      gives: [
        { id: 0, n: 1 },
        { id: '', n: 1 },
      ],
    },
    {
      law: 'the id "__proto__" identifies a record',
      base: [{ id: '__proto__', n: 0, m: 0 }],
      mine: [{ id: '__proto__', n: 1, m: 0 }],
      theirs: [{ id: '__proto__', n: 0, m: 1 }],
      gives: [{ id: '__proto__', n: 1, m: 1 }],
    },
    {
      law: 'ids that are not unique identify nothing: edits of both sides are stale',
      base: {
        t: [
          { id: 1, n: 0 },
          { id: 1, n: 9 },
        ],
      },
      mine: {
        t: [
          { id: 1, n: 1 },
          { id: 1, n: 9 },
        ],
      },
      theirs: {
        t: [
          { id: 1, n: 0 },
          { id: 1, n: 8 },
        ],
      },
      stale: ['t'],
    },
    {
      law: 'one element without an id makes edits of both sides stale',
      base: { t: [a, { n: 1 }] },
      mine: { t: [{ ...a, n: 1 }, { n: 1 }] },
      theirs: { t: [a, { n: 2 }] },
      stale: ['t'],
    },
    {
      law: 'ids that are objects, booleans or null identify nothing',
      base: {
        t: [
          { id: null, n: 0 },
          { id: true, n: 0 },
        ],
      },
      mine: {
        t: [
          { id: null, n: 1 },
          { id: true, n: 0 },
        ],
      },
      theirs: {
        t: [
          { id: null, n: 0 },
          { id: true, n: 1 },
        ],
      },
      stale: ['t'],
    },
    {
      law: 'appends to arrays within the same record are both kept',
      base: [{ id: 1, tags: ['x'] }],
      mine: [{ id: 1, tags: ['x', 'm'] }],
      theirs: [{ id: 1, tags: ['x', 't'] }],
      gives: [{ id: 1, tags: ['x', 't', 'm'] }],
    },
    {
      law: 'records within records merge by their ids',
      base: [{ id: 1, comments: [{ id: 1, s: 'a', u: 0 }] }],
      mine: [{ id: 1, comments: [{ id: 1, s: 'b', u: 0 }] }],
      theirs: [{ id: 1, comments: [{ id: 1, s: 'a', u: 1 }, { id: 2 }] }],
      gives: [{ id: 1, comments: [{ id: 1, s: 'b', u: 1 }, { id: 2 }] }],
    },
    {
      law: 'a record that one side deleted and appended anew, edited by the other, is not silently either',
      base: { t: [a, b] },
      mine: { t: [b, { ...a, n: 7 }] },
      theirs: { t: [{ ...a, n: 8 }, b] },
      stale: ['t[id=1].n'],
    },
    {
      law: 'a changed id is a deletion and a new record: an edit of the old one by the other is stale',
      base: { t: [a, b] },
      mine: { t: [{ ...a, id: 99 }, b] },
      theirs: { t: [{ ...a, n: 1 }, b] },
      stale: ['t[id=1]'],
    },
  ])
})
