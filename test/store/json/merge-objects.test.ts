import assert from 'node:assert/strict'
import { merge } from '../../../src/store/json/merge.ts'
import { mergeTable } from '../../fixtures/lowdb-merge-cases.ts'

/** JSON.parse, so that `__proto__` is an own key, as it is in a file. */
const json = (text: string): unknown => JSON.parse(text)

describe('merging objects', () => {
  mergeTable([
    {
      law: 'nothing changed gives the base',
      base: { a: 1 },
      mine: { a: 1 },
      theirs: { a: 1 },
      gives: { a: 1 },
    },
    {
      law: 'only mine changed gives mine',
      base: { a: 1 },
      mine: { a: 2 },
      theirs: { a: 1 },
      gives: { a: 2 },
    },
    {
      law: 'only theirs changed gives theirs',
      base: { a: 1 },
      mine: { a: 1 },
      theirs: { a: 2 },
      gives: { a: 2 },
    },
    {
      law: 'changes of different keys are both kept',
      base: { a: 1, b: 1 },
      mine: { a: 2, b: 1 },
      theirs: { a: 1, b: 2 },
      gives: { a: 2, b: 2 },
    },
    {
      law: 'different new keys are both kept',
      base: {},
      mine: { m: 1 },
      theirs: { t: 1 },
      gives: { m: 1, t: 1 },
    },
    {
      law: 'changes deep in the same object are both kept',
      base: { s: { x: { a: 1, b: 1 }, y: 0 } },
      mine: { s: { x: { a: 2, b: 1 }, y: 0 } },
      theirs: { s: { x: { a: 1, b: 2 }, y: 1 } },
      gives: { s: { x: { a: 2, b: 2 }, y: 1 } },
    },
    {
      law: 'a value both changed to different values is stale',
      base: { a: 1 },
      mine: { a: 2 },
      theirs: { a: 3 },
      stale: ['a'],
    },
    {
      law: 'a counter both took from 0 to 1 is stale, or an increment would be lost',
      base: { n: 0 },
      mine: { n: 1 },
      theirs: { n: 1 },
      stale: ['n'],
    },
    {
      law: 'a new key both added with an equal value is stale',
      base: {},
      mine: { n: 1 },
      theirs: { n: 1 },
      stale: ['n'],
    },
    {
      law: 'a new key both added with equal objects is stale',
      base: {},
      mine: { o: { n: 1 } },
      theirs: { o: { n: 1 } },
      stale: ['o'],
    },
    {
      law: 'the same key deleted by both is deleted',
      base: { a: 1, b: 1 },
      mine: { b: 1 },
      theirs: { b: 1 },
      gives: { b: 1 },
    },
    {
      law: 'the same parent deleted by both is deleted',
      base: { p: { c: 1 }, b: 1 },
      mine: { b: 1 },
      theirs: { b: 1 },
      gives: { b: 1 },
    },
    {
      law: 'different keys deleted by each are both deleted',
      base: { a: 1, b: 1, c: 1 },
      mine: { b: 1, c: 1 },
      theirs: { a: 1, c: 1 },
      gives: { c: 1 },
    },
    {
      law: 'a key deleted by one and changed by the other is stale',
      base: { a: 1 },
      mine: {},
      theirs: { a: 2 },
      stale: ['a'],
    },
    {
      law: 'a parent I deleted whose child they edited is stale',
      base: { p: { c: 1 } },
      mine: {},
      theirs: { p: { c: 2 } },
      stale: ['p'],
    },
    {
      law: 'a parent they deleted in which I added a child is stale',
      base: { p: {} },
      mine: { p: { c: 1 } },
      theirs: {},
      stale: ['p'],
    },
    {
      law: 'a parent replaced by a value of another type while its child was edited is stale',
      base: { p: { c: 1 } },
      mine: { p: [1] },
      theirs: { p: { c: 2 } },
      stale: ['p'],
    },
    {
      law: 'every stale path is named, not only the first',
      base: { a: 0, s: { b: 0, c: 0 } },
      mine: { a: 1, s: { b: 1, c: 1 } },
      theirs: { a: 2, s: { b: 2, c: 0 } },
      stale: ['a', 's.b'],
    },
    {
      law: 'null, 0, false and "" are values, not absence',
      base: { a: null, b: 0, c: false, d: '' },
      mine: { a: 0, b: 0, c: null, d: '' },
      theirs: { a: null, b: false, c: false, d: null },
      gives: { a: 0, b: false, c: null, d: null },
    },
    { law: 'null against deleted is stale', base: { a: 1 }, mine: { a: null }, theirs: {}, stale: ['a'] },
    {
      law: '1, "1" and true are different',
      base: { a: 1 },
      mine: { a: '1' },
      theirs: { a: 1 },
      gives: { a: '1' },
    },
    {
      law: 'a root of another type on one side is taken',
      base: { a: 1 },
      mine: 7,
      theirs: { a: 1 },
      gives: 7,
    },
    { law: 'a root both changed to scalars is stale', base: 0, mine: 1, theirs: 1, stale: ['(root)'] },
    {
      law: 'a root that became an array while the object was edited is stale',
      base: { a: 1 },
      mine: [],
      theirs: { a: 2 },
      stale: ['(root)'],
    },
    {
      law: 'keys named __proto__, constructor and hasOwnProperty are ordinary keys',
      base: json('{"__proto__":{"a":1},"constructor":1,"hasOwnProperty":1}'),
      mine: json('{"__proto__":{"a":1,"m":1},"constructor":2,"hasOwnProperty":1}'),
      theirs: json('{"__proto__":{"a":1,"t":1},"constructor":1,"hasOwnProperty":2}'),
      gives: json('{"__proto__":{"a":1,"m":1,"t":1},"constructor":2,"hasOwnProperty":2}'),
    },
    {
      law: 'a key __proto__ both changed is stale, also where its values are objects',
      base: json('{"a":1}'),
      mine: json('{"a":1,"__proto__":{"admin":true}}'),
      theirs: json('{"a":1,"__proto__":{"admin":true}}'),
      stale: ['__proto__'],
    },
    {
      law: 'a key toString that only one side has is new, not inherited',
      base: {},
      mine: { toString: 1 },
      theirs: { valueOf: 2 },
      gives: { toString: 1, valueOf: 2 },
    },
    {
      law: 'the empty key is an ordinary key',
      base: { '': { '': 1 }, a: 1 },
      mine: { '': { '': 2 }, a: 1 },
      theirs: { '': { '': 1 }, a: 2 },
      gives: { '': { '': 2 }, a: 2 },
    },
    {
      law: 'unicode keys are compared exactly, without normalisation',
      base: {},
      mine: { '\u00e9': 1, '😀': 1 },
      theirs: { 'e\u0301': 2, '\ud83d': 3 },
      gives: { '\u00e9': 1, 'e\u0301': 2, '😀': 1, '\ud83d': 3 },
    },
    {
      law: 'keys with dots are not taken for paths',
      base: { 'a.b': 1, a: { b: 1 } },
      mine: { 'a.b': 2, a: { b: 1 } },
      theirs: { 'a.b': 1, a: { b: 2 } },
      gives: { 'a.b': 2, a: { b: 2 } },
    },
    {
      law: 'another order of keys is no change',
      base: { a: 1, b: 2 },
      mine: { b: 2, a: 1 },
      theirs: { a: 1, b: 3 },
      gives: { a: 1, b: 3 },
    },
  ])

  it('does not touch Object.prototype', () => {
    merge(json('{}'), json('{"__proto__":{"polluted":1}}'), json('{"x":1}'))
    assert.equal(({} as Record<string, unknown>).polluted, undefined)
  })

  it('merges a tree as deep as JSON.parse takes from a file', () => {
    const deep = (leaf: string) => json(`${'{"a":'.repeat(2000)}{${leaf}}${'}'.repeat(2000)}`)
    const result = merge(deep('"x":1,"y":1'), deep('"x":2,"y":1'), deep('"x":1,"y":2'))
    assert.ok('merged' in result)
    assert.equal(JSON.stringify(result.merged), JSON.stringify(deep('"x":2,"y":2')))
  })
})
