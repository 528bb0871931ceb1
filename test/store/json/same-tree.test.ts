import assert from 'node:assert/strict'
import { cloneTree, isOtherTree, isSameTree, patch, shareStrings } from '../../../src/store/json/values.ts'
import { newSeed, random } from '../../fixtures/random.ts'

const textOf = (tree: unknown) => JSON.stringify(tree)
const withToJSON = (object: object, enumerable: boolean) =>
  Object.defineProperty(object, 'toJSON', { value: () => 'other', enumerable })

describe('what is known of two trees without their texts', () => {
  it('that they are the same is never said where their texts differ', () => {
    class Point {
      x = 1
    }
    const pairs: [unknown, unknown][] = [
      [
        { a: 1, b: 2 },
        { b: 2, a: 1 },
      ],
      [{ a: 1 }, { a: 1, b: undefined }],
      [{ a: undefined }, { b: undefined }],
      [{ a: 1, b: 2 }, { a: 1 }],
      [[1, 2], [1]],
      [{ 0: 1 }, [1]],
      [new Date(1), new Date(2)],
      [withToJSON({ a: 1 }, true), { a: 1 }],
      [withToJSON({ a: 1 }, false), { a: 1 }],
      [withToJSON([1], false), [1]],
      [{ a: () => 1 }, { a: () => 1 }],
      [new Map([[1, 1]]), new Map()],
      [new Point(), { x: 1 }],
      [JSON.parse('{"__proto__":{"a":1}}'), JSON.parse('{"__proto__":{"a":2}}')],
    ]
    for (const [a, b] of pairs) assert.ok(!isSameTree({ at: [a] }, { at: [b] }), textOf([a, b]))
    for (const same of [new Point(), new Date(1), { a: [{ b: null }] }])
      assert.ok(isSameTree([same], cloneTree([same])), textOf(same))
  })

  it('that one is another is never said where their texts are the same', () => {
    const trees: unknown[] = [
      { a: 1, b: undefined },
      { a: Number.NaN, b: [Number.POSITIVE_INFINITY, undefined, () => 1], c: -0 },
      { at: new Date(1), s: Symbol('s'), boxed: [new String('x'), new Number(1)] },
      withToJSON({ a: 1 }, false),
      { list: withToJSON([1, 2], true) },
    ]
    for (const tree of trees) assert.ok(!isOtherTree(tree, JSON.parse(textOf(tree))), textOf(tree))
    assert.ok(isOtherTree({ a: [{ n: 1 }] }, { a: [{ n: 2 }] }))
    assert.ok(isOtherTree({ a: [1] }, { a: [1, 2] }))
  })

  it('what is inherited is no field of either', () => {
    class User {
      declare role: string
    }
    User.prototype.role = 'user'
    const [own, inherits] = [Object.assign(new User(), { role: 'user' }), new User()]
    assert.ok(!isSameTree(own, inherits))
    assert.ok(!isSameTree(inherits, own))
    assert.deepEqual(Object.keys(cloneTree(inherits)), [])
    const parsed = { a: 's' }
    const polluted = { value: 'p', enumerable: true, configurable: true, writable: true }
    Object.defineProperty(Object.prototype, 'polluted', polluted)
    try {
      shareStrings(parsed, { a: 's', b: 'p' })
      const target = { a: '1' }
      patch(target, { a: '1', polluted: 'p' })
      assert.deepEqual(Object.keys(target), ['a', 'polluted'])
    } finally {
      delete (Object.prototype as { polluted?: string }).polluted
    }
    assert.deepEqual(Object.keys(parsed), ['a'])
    const target = new User()
    patch(target, own)
    assert.deepEqual(Object.keys(target), ['role'])
  })

  it('any two random trees: both say what the texts say', () => {
    const seed = newSeed()
    const draw = random(seed)
    for (let n = 0; n < 5000; n++) {
      const [a, b] = [treeOf(draw, 3), treeOf(draw, 3)]
      const isSame = textOf(a) === textOf(b)
      assert.equal(isSameTree(a, b), isSame, `seed ${seed}`)
      assert.ok(!(isSame && isOtherTree(a, b)), `seed ${seed}`)
      assert.equal(textOf(cloneTree(a)), textOf(a))
      const [before, others] = [textOf(a), textOf(b)]
      shareStrings(a, b)
      assert.deepEqual([textOf(a), textOf(b)], [before, others], `seed ${seed}`)
    }
  })
})

function treeOf(draw: () => number, depth: number): unknown {
  const kind = Math.floor(draw() * (depth > 0 ? 6 : 4))
  if (kind < 4) return [draw() < 0.5, Math.floor(draw() * 3), `s${Math.floor(draw() * 2)}`, null][kind]
  const parts = Array.from({ length: Math.floor(draw() * 3) }, () => treeOf(draw, depth - 1))
  if (kind === 4) return parts
  return Object.fromEntries(parts.map((part) => [['id', 'a', '__proto__'][Math.floor(draw() * 3)], part]))
}
