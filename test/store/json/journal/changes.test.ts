import assert from 'node:assert/strict'
import { apply, type Change, changesOf } from '../../../../src/store/json/journal/changes.ts'
import { Recorder } from '../../../../src/store/json/journal/recorder.ts'
import { cloneTree } from '../../../../src/store/json/values.ts'
import { random } from '../../../fixtures/random.ts'

// biome-ignore lint/suspicious/noExplicitAny: a tree of any shape, as its users have it
type Any = any

const json = <T>(value: T): T => JSON.parse(JSON.stringify(value)) as T

/** What an edit changes, as another process reads it. */
function changes(tree: unknown, edit: (draft: Any) => unknown): Change[] {
  const recorder = new Recorder('the file')
  const root = recorder.draft(tree)
  edit(root)
  const found = json(changesOf(recorder, tree, root))
  recorder.close()
  return found
}

/** What is in memory after an edit. */
function edited<T>(tree: T, edit: (draft: Any) => unknown): T {
  return apply(tree, changes(tree, edit), 'the file') as T
}

/** Edits a tree, and a copy of it directly, and compares. */
function same(tree: unknown, edit: (draft: Any) => unknown): void {
  const plain = cloneTree(tree)
  edit(plain)
  assert.deepEqual(json(edited(json(tree), edit)), json(plain))
}

describe('the changes of a tree', () => {
  const posts = () => ({
    posts: [1, 2, 3, 4, 5].map((id) => ({ id, title: `t${id}`, tags: ['a', 'b'] })),
    n: 0,
  })

  it('are only those values that are others than before', () => {
    assert.deepEqual(
      changes(posts(), (d) => {
        d.n++
        d.posts[2].title = 'new'
        Object.assign(d.posts[3], { title: 't4' })
        delete d.posts[0].tags
      }),
      [
        ['=', ['n'], 1],
        ['=', ['posts', 2, 'title'], 'new'],
        ['-', ['posts', 0, 'tags']],
      ],
    )
  })

  it('do not name the elements of a list that only move', () => {
    const list = { all: Array.from({ length: 1000 }, (_, id) => ({ id })) }
    for (const [what, edit, longest] of [
      ['push', (d: Any) => d.all.push({ id: 1000 }), 60],
      ['pop', (d: Any) => d.all.pop(), 40],
      ['shift', (d: Any) => d.all.shift(), 40],
      ['unshift', (d: Any) => d.all.unshift({ id: -1 }), 60],
      ['splice', (d: Any) => d.all.splice(500, 2, { id: 'x' }), 60],
      ['two filtered out', (d: Any) => (d.all = d.all.filter((e: Any) => e.id !== 3 && e.id !== 900)), 60],
      ['rotated', (d: Any) => d.all.push(d.all.shift()), 60],
      [
        'one replaced by map',
        (d: Any) => (d.all = d.all.map((e: Any) => (e.id === 7 ? { ...e, x: 1 } : e))),
        60,
      ],
    ] as const) {
      same(list, edit)
      const text = JSON.stringify(changes(list, edit))
      assert.ok(text.length <= longest, `${what}: ${text}`)
    }
  })

  it('keep the identity of containers, and of records wherever they move', () => {
    const tree = posts()
    const { posts: list } = tree
    const [first, second, third] = list
    edited(tree, (d) => {
      d.posts.sort((a: Any, b: Any) => b.id - a.id)
      d.posts[3].title = 'two'
      d.posts = d.posts.map((post: Any) => (post.id === 3 ? { ...post, title: 'three' } : post))
    })
    assert.equal(tree.posts, list)
    assert.deepEqual(
      tree.posts.map(({ id }) => id),
      [5, 4, 3, 2, 1],
    )
    assert.deepEqual([tree.posts[4], tree.posts[3], tree.posts[2]], [first, second, third])
    assert.ok(tree.posts[4] === first && tree.posts[3] === second && tree.posts[2] === third)
    assert.deepEqual([second?.title, third?.title], ['two', 'three'])
  })

  it('can be undone', () => {
    const tree = posts()
    const before = cloneTree(tree)
    const [first] = tree.posts
    const undo: (() => void)[] = []
    const found = changes(tree, (d) => {
      d.posts.reverse()
      d.posts.pop()
      d.posts[0].title = 'x'
      d.posts.push({ id: 9 })
      d.more = { a: 1 }
      delete d.n
      d.posts[1].tags = { none: true }
    })
    apply(tree, found, 'the file', (step) => undo.unshift(step))
    assert.notDeepEqual(tree, before)
    for (const step of undo) step()
    assert.deepEqual(tree, before)
    assert.equal(tree.posts[0], first)
  })

  it('are JSON: what JSON does not keep is not there', () => {
    const odd = (d: Any) => {
      Object.assign(d, { date: new Date(0), gone: undefined, nan: Number.NaN, zero: -0, f: () => 1 })
      d.list = [undefined, Number.NaN, () => 1, { toJSON: () => 'text' }]
      d.n = { toJSON: () => undefined }
      d.map = new Map([[1, 2]])
      d.posts[0] = undefined
      d.posts[1].tags[5] = 'far, with holes before it'
      d.posts.length = 4
      delete d.posts[2]
    }
    same(posts(), odd)
    assert.ok(!('gone' in edited(posts(), odd)))
    assert.throws(() => changes(posts(), (d) => (d.n = 1n)), TypeError)
    assert.throws(() => changes(posts(), (d) => (d.self = d)), TypeError)
    const evil = JSON.parse('{"__proto__":{"polluted":1},"n":0}') as Any
    assert.equal(
      Object.hasOwn(
        edited(evil, (d) => Object.assign(d, { n: 1 })),
        '__proto__',
      ),
      true,
    )
    assert.equal(changes(posts(), (d) => assert.ok(!Reflect.set(d, '__proto__', { polluted: 1 }))).length, 0)
    assert.equal(({} as Any).polluted, undefined)
  })

  it('are made on lists whose holes look as those of an array, whatever makes them', () => {
    const makes: ((list: Any) => unknown)[] = [
      (list) => delete list[1],
      (list) => delete list[9],
      (list) => (list.length = 6),
      (list) => (list[5] = 'x'),
      (list) => list.push(delete list[0]),
      (list) => [delete list[1], list.reverse()],
      (list) => [list.reverse(), delete list[1]],
      (list) => [delete list[1], Object.assign(list, { 1: undefined })],
      (list) => [delete list[2], Object.assign(list, { length: 2 }), Object.assign(list, { length: 4 })],
      (list) => [delete list[0], list.shift(), list.unshift('y')],
      (list) => list.splice(1, 1, ...new Array(2)),
    ]
    const looks: ((list: Any) => unknown)[] = [
      (list) => Array.from({ length: 8 }, (_, index) => index in list),
      (list) => Object.keys(list),
      (list) => Object.entries(list).length,
      (list) => Object.hasOwn(list, 1) || Object.hasOwn(list, 4),
      (list) => {
        const seen: number[] = []
        list.forEach((_: unknown, index: number) => void seen.push(index))
        return seen
      },
      (list) => Object.keys(list.map(() => 1)),
      (list) => list.filter(() => true).length,
      (list) => list.reduce((count: number) => count + 1, 0),
      (list) => list.some((value: unknown) => value === undefined),
      (list) => list.every((value: unknown) => value !== undefined),
      (list) => [
        list.indexOf(undefined),
        list.includes(undefined),
        list.findIndex((v: Any) => v === undefined),
      ],
      (list) => [Object.keys(list.slice(0, 4)), Object.keys(list.concat(['z'])), list.flat().length],
      (list) => [[...list].length, list.join(), JSON.stringify(list), list.at(1)],
      (list) => Object.keys(list.sort()),
      (list) => Object.keys(list.splice(0, 3)),
    ]
    for (const make of makes)
      for (const look of looks) {
        const plain = { list: ['a', 'b', 'c', { d: 1 }] }
        let seen: unknown
        const edit = (d: Any) => {
          make(d.list)
          seen = json(look(d.list))
        }
        edit(plain)
        const right = seen
        const says = `${make} ${look}`
        assert.deepEqual(json(edited({ list: ['a', 'b', 'c', { d: 1 }] }, edit)), json(plain), says)
        assert.deepEqual(seen, right, says)
        // In an edit of an edit, too.
        const inner = { list: ['a', 'b', 'c', { d: 1 }] }
        changes(inner, (d) => {
          make(d.list)
          changes(d, (deeper) => (seen = json(look(deeper.list))))
        })
        assert.deepEqual(seen, right, `${says}, in another edit`)
      }
  })

  it('are what an edit without drafts would have made, whatever it does', () => {
    const seed = Number(process.env.PSLOCK_SEED ?? Math.floor(Math.random() * 2 ** 31))
    const next = random(seed)
    const runs = Number(process.env.PSLOCK_RUNS ?? (process.env.PSLOCK_LONG ? 200_000 : 3000))
    for (let run = 0; run < runs; run++) {
      const tree = someTree(next, 3)
      const steps = Array.from({ length: 1 + Math.floor(next() * 8) }, () => Math.floor(next() * 2 ** 31))
      const edit = (d: Any) => {
        const found: Any[] = []
        for (const step of steps) someStep(d, random(step), found)
      }
      const plain = { root: cloneTree(tree) }
      edit(plain)
      const memory = { root: cloneTree(tree) }
      const undo: (() => void)[] = []
      const says = `PSLOCK_SEED=${seed}, run ${run}: ${JSON.stringify(tree)}`
      let text: unknown
      try {
        text = json(plain)
      } catch {
        assert.throws(() => changes(memory, edit), TypeError, says)
        continue
      }
      const inner = cloneTree(memory)
      const outer = changes(inner, (d) => apply(d, changes(d, edit), 'the draft'))
      apply(memory, changes(memory, edit), 'the file', (step) => undo.unshift(step))
      assert.deepEqual(memory, text, says)
      for (const step of undo) step()
      assert.deepEqual(memory.root, tree, `${says}: undone`)
      assert.deepEqual(apply(inner, outer, 'the file'), text, `${says}: in another edit`)
    }
  }).timeout(600_000)
})

function someTree(next: () => number, depth: number): Any {
  const kind = next()
  if (depth === 0 || kind < 0.2) return [1, 2, 'a', 'b', true, null][Math.floor(next() * 6)]
  const size = Math.floor(next() * 5)
  const children = Array.from({ length: size }, () => someTree(next, depth - 1))
  if (kind < 0.6) return children
  const object = Object.fromEntries(children.map((child, index) => ['abcd'[index], child]))
  return next() < 0.4 ? { id: Math.floor(next() * 4), ...object } : object
}

/** Goes to some container and does something to it. `found` are containers that earlier steps have got hold of. */
function someStep(d: Any, next: () => number, found: Any[]): void {
  const pick = <T>(list: readonly T[]): T => list[Math.floor(next() * list.length)] as T
  let at: Any = next() < 0.3 && found.length > 0 ? pick(found) : d
  while (next() < 0.7) {
    // A member that was removed and comes back has its old place among the keys.
    const keys = Object.keys(at).sort()
    const inner = keys.filter((name) => typeof at[name] === 'object' && at[name] !== null)
    if (inner.length === 0) break
    at = at[pick(inner)]
  }
  found.push(at)
  const value = () => (next() < 0.3 ? pick(found) : someTree(next, 2))
  const key = pick(Array.isArray(at) ? ['0', '1', '2', at.length] : ['root', 'a', 'b', 'id', 'e'])
  if (at === d) {
    d.root = value()
    return
  }
  const common = [
    () => (at[key] = value()),
    () => delete at[key],
    () => Object.assign(at, { [key]: value() }),
  ]
  const ofList = [
    () => at.push(value(), value()),
    () => found.push(...[at.pop(), at.shift()].filter((one) => typeof one === 'object' && one !== null)),
    () => at.unshift(value()),
    () => at.splice(next() * at.length, next() * 3, ...(next() < 0.5 ? [value()] : [])),
    () => at.reverse(),
    () => at.sort((a: Any, b: Any) => JSON.stringify(a).length - JSON.stringify(b).length),
    () => at.copyWithin(0, 1),
    () => at.fill(value(), 0, 2),
    () => (at.length = Math.floor(next() * 5)),
    () => (at[key] = at[0]),
  ]
  try {
    pick(Array.isArray(at) ? [...common, ...ofList] : common)()
  } catch (error) {
    // A cycle cannot be compared by its JSON.
    if (!/circular/.test(String(error))) throw error
  }
}
