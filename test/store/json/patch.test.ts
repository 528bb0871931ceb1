import assert from 'node:assert/strict'
import { cloneTree, isSameTree, patch } from '../../../src/store/json/values.ts'
import { newSeed, note, random } from '../../fixtures/random.ts'

type Tree = Record<string, unknown>
const json = <T = Tree>(text: string): T => JSON.parse(text) as T

/** `const { posts } = db.data` must stay what is in `db.data` when other processes' changes come in. */
describe('patching a tree in place', () => {
  it('keeps the identity of containers by their path', () => {
    const target = { posts: [{ t: 'a' }], settings: { theme: { dark: true } } }
    const { posts, settings } = target
    const [first] = posts
    const { theme } = settings
    const source = { posts: [{ t: 'A' }, { t: 'b' }], settings: { theme: { dark: false } }, more: 1 }
    assert.equal(patch(target, source), target)
    assert.deepEqual(target, source)
    assert.equal(target.posts, posts)
    assert.equal(target.posts[0], first)
    assert.equal(target.settings.theme, theme)
  })

  it('keeps the identity of records by their id, wherever they move', () => {
    const target = [
      { id: 1, t: 'a', tags: ['x'] },
      { id: 2, t: 'b', tags: [] as string[] },
      { id: 3, t: 'c', tags: [] as string[] },
    ]
    const [one, two, three] = target
    const tags = one!.tags
    const source = [
      { id: 3, t: 'C', tags: [] },
      { id: 4, t: 'new', tags: [] },
      { id: 1, t: 'a', tags: ['x', 'y'] },
    ]
    assert.equal(patch(target, source), target)
    assert.deepEqual(target, source)
    assert.equal(target[0], three)
    assert.equal(target[2], one)
    assert.equal(target[2]!.tags, tags)
    assert.ok(!target.includes(two!))
    assert.deepEqual(two, { id: 2, t: 'b', tags: [] }, 'who keeps a deleted record still sees its last state')
  })

  it('tells records with ids 1 and "1" apart', () => {
    const target: Tree[] = [{ id: 1 }, { id: '1' }]
    const [number, text] = target
    patch(target, [{ id: '1' }, { id: 1 }])
    assert.deepEqual(
      [target[0], target[1]].map((one) => one === number),
      [false, true],
    )
    assert.equal(target[0], text)
  })

  it('identifies records by _id too', () => {
    const target = [{ _id: 'a' }, { _id: 'b' }]
    const [a] = target
    patch(target, [{ _id: 'b' }, { _id: 'a' }])
    assert.equal(target[1], a)
  })

  it('keeps the identity of the records behind one that is put in, taken out, or has no id', () => {
    for (const between of [[{ id: 9 }], [], [{}], ['text']]) {
      const target: unknown[] = [
        { id: 1, n: 0 },
        { id: 2, n: 0 },
        { id: 3, n: 0 },
        { id: 4, n: 0 },
      ]
      const [one, , three, four] = target
      const source = [{ id: 1, n: 1 }, ...between, { id: 3, n: 1 }, { id: 4, n: 1 }, { id: 5, n: 1 }]
      patch(target, source)
      assert.deepEqual(target, source)
      assert.deepEqual(
        [target[0], ...target.slice(-3, -1)].map((element, i) => element === [one, three, four][i]),
        [true, true, true],
      )
    }
  })

  it('compares the ids of records without writing them as text', () => {
    const records = () => Array.from({ length: 500 }, (_, id) => ({ id, text: 'x' }))
    const target = records()
    const { stringify } = JSON
    let written = 0
    JSON.stringify = ((...args: Parameters<typeof stringify>) => {
      written++
      return stringify(...args)
    }) as typeof stringify
    try {
      patch(target, [...records(), { id: 500, text: 'new' }])
    } finally {
      JSON.stringify = stringify
    }
    assert.deepEqual([target.length, written], [501, 0])
  })

  it('does not turn a record into another one that took its place', () => {
    const target: Tree[] = [{ id: 1, t: 'a' }]
    const [a] = target
    patch(target, [{ id: 2, t: 'b' }])
    assert.deepEqual(a, { id: 1, t: 'a' })
    assert.deepEqual(target, [{ id: 2, t: 'b' }])
  })

  it('keeps records with the same id apart', () => {
    const target = [{ id: 1, n: 0 }]
    patch(target, [
      { id: 1, n: 1 },
      { id: 1, n: 2 },
    ])
    assert.deepEqual(target, [
      { id: 1, n: 1 },
      { id: 1, n: 2 },
    ])
  })

  it('separates an object that stands at two places when the places differ', () => {
    const shared = { id: 1, title: 'old' }
    const target = { posts: [shared], selected: shared }
    const source = json('{"posts":[{"id":1,"title":"new"}],"selected":{"id":1,"title":"old"}}')
    patch(target, source)
    assert.deepEqual(target, source)
  })

  it('separates it too where all containers are known', () => {
    for (const isFirst of [true, false]) {
      const shared = { id: 1, title: 'old' }
      const target = { posts: [shared], selected: shared }
      const source = {
        posts: [{ id: 1, title: isFirst ? 'new' : 'old' }],
        selected: { id: 1, title: 'other' },
      }
      const containers: unknown[] = []
      assert.ok(isSameTree(target, cloneTree(target), containers))
      patch(target, source, containers)
      assert.deepEqual(target, source)
      assert.equal(target.posts[0], shared, 'the first keeps its identity')
    }
  })

  it('also when the place that stays comes first', () => {
    const shared = { id: 1, title: 'old', tags: ['a'] }
    const target = { selected: shared, posts: [shared] }
    const source = json(
      '{"selected":{"id":1,"title":"old","tags":["a"]},"posts":[{"id":1,"title":"new","tags":["b"]}]}',
    )
    const wanted = structuredClone(source)
    patch(target, source)
    assert.deepEqual(target, wanted)
    assert.equal(target.selected, shared, 'the first keeps its identity')
  })

  it('replaces what changed its kind', () => {
    const list = [1]
    const target: Tree = { a: list, b: {}, c: 1, d: null, e: 'x' }
    const source = { a: { 0: 1 }, b: [], c: { n: 1 }, d: [null], e: null }
    patch(target, source)
    assert.deepEqual(target, source)
    assert.deepEqual(list, [1])
  })

  it('returns a copy of the source where the root itself changed its kind', () => {
    assert.deepEqual(patch({ a: 1 }, [1]), [1])
    assert.equal(patch([], null), null)
    assert.equal(patch(null, 0), 0)
  })

  it('takes no container of the source', () => {
    const inner = () => ({ x: [{ y: 1 }] })
    const source = {
      a: inner(),
      b: inner(),
      c: [inner(), { id: 1, ...inner() }, { id: 1 }],
      d: inner(),
      e: [inner()],
    }
    const target: Tree = { b: 1, c: [inner()], d: [], e: Object.freeze([1]) }
    target.twice = target.c
    for (const containers of [undefined, [target, target.c, target.c]]) {
      const patched = patch(structuredClone(target), source, containers)
      assert.deepEqual(patched, source)
      const found = new Set<unknown>()
      const collect = (tree: unknown) => {
        if (typeof tree !== 'object' || tree === null) return
        found.add(tree)
        Object.values(tree).forEach(collect)
      }
      collect(source)
      const { size } = found
      collect(patched)
      assert.equal(found.size, size * 2)
    }
  })

  it('removes keys and elements that are gone', () => {
    const target: Tree = { a: 1, b: { c: 1, d: 2 }, list: [1, 2, 3] }
    patch(target, { b: { d: 2 }, list: [3] })
    assert.deepEqual(target, { b: { d: 2 }, list: [3] })
    assert.equal((target.list as unknown[]).length, 1)
  })

  it('treats the key __proto__ as any other', () => {
    const target = json('{"__proto__":{"a":1},"b":1}')
    const source = json('{"b":2,"__proto__":{"a":2,"c":3}}')
    patch(target, source)
    assert.equal(Object.getPrototypeOf(target), Object.prototype)
    assert.deepEqual(Object.getOwnPropertyDescriptor(target, '__proto__')?.value, { a: 2, c: 3 })
    patch(target, json('{"b":2}'))
    assert.ok(!Object.hasOwn(target, '__proto__'))
    assert.equal(({} as Tree).c, undefined)
  })

  it('makes any tree equal to any other, and keeps the root where its kind stays', () => {
    const seed = newSeed()
    const next = random(seed)
    const pick = (below: number) => Math.floor(next() * below)
    const tree = (depth: number): unknown => {
      const kind = depth === 0 ? 0 : pick(5)
      if (kind === 0) return [null, 0, '', true, pick(4), `s${pick(4)}`][pick(6)]
      if (kind === 1) return Array.from({ length: pick(5) }, () => tree(depth - 1))
      const entries = Array.from({ length: pick(4) }, () => [`k${pick(4)}`, tree(depth - 1)] as const)
      const object = Object.fromEntries(entries)
      if (kind === 2) return object
      // Few ids, so that records meet again, sometimes twice in one array.
      return Array.from({ length: pick(4) }, () => ({ id: pick(4), ...object, n: tree(1) }))
    }
    /** Some containers stand at several places. */
    const shared = (value: unknown, pool: unknown[]): unknown => {
      if (typeof value !== 'object' || value === null) return value
      if (pick(4) === 0 && pool.length > 0) return pool[pick(pool.length)]
      for (const [key, member] of Object.entries(value))
        (value as Record<string, unknown>)[key] = shared(member, pool)
      pool.push(value)
      return value
    }
    for (let round = 0; round < 5000; round++) {
      const target = round % 2 === 0 ? tree(4) : shared(json(JSON.stringify(tree(4))), [])
      const source = round % 4 === 1 ? json(JSON.stringify(target)) : tree(4)
      if (round % 4 === 1 && typeof source === 'object' && source)
        for (const key of Object.keys(source)) if (pick(3) === 0) Object.assign(source, { [key]: tree(2) })
      const wanted = structuredClone(source)
      // The same again, told of all containers: those that stand at two places are twice among them.
      const twin = structuredClone(target)
      const containers: unknown[] = []
      if (isSameTree(twin, cloneTree(twin), containers))
        assert.deepEqual(
          patch(twin, structuredClone(source), containers),
          wanted,
          `seed ${seed}, round ${round}`,
        )
      const patched = patch(target, source)
      assert.deepEqual(patched, wanted, `seed ${seed}, round ${round}`)
      const sameKind =
        typeof target === 'object' &&
        target &&
        typeof source === 'object' &&
        source &&
        Array.isArray(target) === Array.isArray(source)
      if (sameKind) assert.equal(patched, target, `seed ${seed}, round ${round}`)
    }
    note(`seed ${seed}: 5000 patches`)
  })
})
