import assert from 'node:assert/strict'
import { merge } from '../../../src/store/json/merge.ts'
import { newSeed, note, random } from '../../fixtures/random.ts'

type Tree = Record<string, unknown>

/** Random trees and edits; `pick(n)` is an integer in [0, n). */
class Dice {
  readonly next: () => number
  #ids = 0
  constructor(seed: number) {
    this.next = random(seed)
  }
  pick(below: number): number {
    return Math.floor(this.next() * below)
  }
  one<T>(list: readonly T[]): T {
    return list[this.pick(list.length)] as T
  }
  leaf(): unknown {
    return this.one([null, true, false, 0, 1, -1.5, '', 'x', '1', 'é😀', this.pick(1000)])
  }
  key(): string {
    return this.one([
      'a',
      'b',
      'c',
      'id',
      'list',
      '',
      'ü',
      'a.b',
      '__proto__',
      'constructor',
      `k${this.pick(5)}`,
    ])
  }
  tree(depth: number): unknown {
    const kind = depth <= 0 ? 0 : this.pick(4)
    if (kind <= 1) return this.leaf()
    if (kind === 2) return this.object(depth)
    return this.next() < 0.5
      ? Array.from({ length: this.pick(4) }, () => this.tree(depth - 1))
      : Array.from({ length: this.pick(4) }, () => this.record(depth - 1))
  }
  object(depth: number): Tree {
    return Object.fromEntries(Array.from({ length: this.pick(5) }, () => [this.key(), this.tree(depth - 1)]))
  }
  record(depth: number): Tree {
    const { id, _id, ...fields } = this.object(depth)
    return { ...fields, [this.one(['id', '_id'])]: this.one([`r${++this.#ids}`, ++this.#ids]) }
  }
}

/** As a file would give it back. */
const copy = <T>(tree: T): T => JSON.parse(JSON.stringify(tree)) as T

/** Two sides that add records of the same id are in each other's way. */
function withoutId(value: unknown): unknown {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return value
  const { id, _id, ...others } = value as Tree
  return others
}

/** An edit of the members of one side only: those whose names begin with its letter. */
type Edit = (tree: Tree) => void

/** A root with members that only mine edits, members that only theirs edits, and arrays that both use in ways that go together. */
function root(dice: Dice): Tree {
  const records = Array.from({ length: 2 + dice.pick(8) }, (_, born) => ({
    ...dice.record(1),
    m: 0,
    t: 0,
    born,
  }))
  return {
    m: dice.object(3),
    t: dice.object(3),
    both: { m: dice.tree(2), t: dice.tree(2), log: [dice.leaf()] },
    records,
  }
}

function edit(dice: Dice, side: 'm' | 't'): Edit {
  const value = dice.tree(3)
  const at = dice.next()
  const which = dice.pick(100)
  const key = dice.key()
  const record = { ...dice.record(1), m: 0, t: 0 }
  const entry = withoutId(value)
  const even = side === 'm' ? 0 : 1
  return (tree) => {
    const both = tree.both as Tree
    const records = tree.records as Tree[]
    // Records born as 0, 4, 8... belong to mine, those born as 1, 5, 9... to theirs; the fields m and t of the others too.
    const own = records.filter((known) => Number(known.born ?? -1) % 4 === even)
    const target = own[which % Math.max(1, own.length)]
    if (at < 0.2) (tree[side] as Tree)[key] = copy(value)
    else if (at < 0.3) delete (tree[side] as Tree)[key]
    else if (at < 0.4) both[side] = copy(value)
    else if (at < 0.5) (both.log as unknown[]).push(copy(entry))
    else if (at < 0.6) records.push(copy(record))
    else if (at < 0.7 && target) target.x = copy(value)
    else if (at < 0.8 && target) records.splice(records.indexOf(target), 1)
    else if (at < 0.9) {
      for (const known of records) if (Number(known.born) % 4 >= 2) known[side] = which
    } else tree[`${side}${which}`] = copy(value)
  }
}

/** A text that is the same for trees that differ only in the order of keys (and, if wanted, of elements). */
function canonical(tree: unknown, anyOrder = false): string {
  if (typeof tree !== 'object' || tree === null) return JSON.stringify(tree)
  if (Array.isArray(tree)) {
    const elements = tree.map((element) => canonical(element, anyOrder))
    return `[${(anyOrder ? elements.sort() : elements).join()}]`
  }
  const members = Object.entries(tree).map(([key, value]) => JSON.stringify(key) + canonical(value, anyOrder))
  return `{${members.sort().join()}}`
}

/** As `canonical`, but the two arrays to which both sides append in any order. */
function contents(tree: unknown): string {
  const { records, both, ...rest } = tree as Tree & { both: Tree }
  const { log, ...others } = both
  return canonical([rest, others]) + canonical([records, log], true)
}

describe('merging random trees', () => {
  it('merge(base, x, base) and merge(base, base, x) are x, for any two trees', () => {
    const seed = newSeed()
    const dice = new Dice(seed)
    for (let round = 0; round < 3000; round++) {
      const [base, x] = [copy(dice.tree(4)), copy(dice.tree(4))]
      const shown = `seed ${seed}, round ${round}`
      assert.deepEqual(merge(base, x, base), { merged: x, conflicts: [] }, shown)
      assert.deepEqual(merge(base, base, x), { merged: x, conflicts: [] }, shown)
    }
    note(`seed ${seed}: 3000 pairs`)
  })

  it('two disjoint edits merge to what applying them one after the other gives, in either order', () => {
    const seed = newSeed()
    const dice = new Dice(seed)
    let changed = 0
    for (let round = 0; round < 3000; round++) {
      const base = copy(root(dice))
      const [mineEdits, theirEdits] = (['m', 't'] as const).map((side) =>
        Array.from({ length: 1 + dice.pick(5) }, () => edit(dice, side)),
      ) as [Edit[], Edit[]]
      const apply = (...edits: Edit[]) => {
        const tree = copy(base)
        for (const one of edits) one(tree)
        return copy(tree)
      }
      const result = merge(base, apply(...mineEdits), apply(...theirEdits))
      const shown = `seed ${seed}, round ${round}`
      assert.deepEqual(result.conflicts, [], shown)
      assert.ok('merged' in result)
      assert.equal(contents(result.merged), contents(apply(...mineEdits, ...theirEdits)), shown)
      assert.equal(contents(result.merged), contents(apply(...theirEdits, ...mineEdits)), shown)
      if (JSON.stringify(result.merged) !== JSON.stringify(base)) changed++
    }
    note(`seed ${seed}: 3000 merges, ${changed} of them with changes`)
    assert.ok(changed > 2500)
  })

  it('any two changes either merge the same way from both sides, or are stale at the same paths', () => {
    const seed = newSeed()
    const dice = new Dice(seed)
    let stale = 0
    for (let round = 0; round < 3000; round++) {
      const base = copy(root(dice))
      const side = () => {
        const tree = copy(base)
        for (let edits = 1 + dice.pick(4); edits > 0; edits--) edit(dice, dice.one(['m', 't']))(tree)
        return copy(tree)
      }
      const [mine, theirs] = [side(), side()]
      const [there, back] = [merge(base, mine, theirs), merge(base, theirs, mine)]
      const shown = `seed ${seed}, round ${round}`
      assert.deepEqual([...there.conflicts].sort(), [...back.conflicts].sort(), shown)
      if ('merged' in there && 'merged' in back)
        assert.equal(canonical(there.merged, true), canonical(back.merged, true), shown)
      else stale++
    }
    note(`seed ${seed}: ${stale} of 3000 were stale`)
    assert.ok(stale > 100 && stale < 2900, 'both ends must occur')
  })

  it('every value of a merged tree is of one of its three origins', () => {
    const seed = newSeed()
    const dice = new Dice(seed)
    const leaves = (tree: unknown): string[] =>
      typeof tree === 'object' && tree !== null ? Object.values(tree).flatMap(leaves) : [JSON.stringify(tree)]
    for (let round = 0; round < 2000; round++) {
      const base = copy(root(dice))
      const [mine, theirs] = [copy(base), copy(base)]
      for (let edits = dice.pick(5); edits > 0; edits--) edit(dice, 'm')(mine)
      for (let edits = dice.pick(5); edits > 0; edits--) edit(dice, 't')(theirs)
      const result = merge(base, copy(mine), copy(theirs))
      if (!('merged' in result)) continue
      const known = new Set([base, mine, theirs].flatMap(leaves))
      for (const leaf of leaves(result.merged))
        assert.ok(known.has(leaf), `seed ${seed}, round ${round}: ${leaf}`)
    }
    note(`seed ${seed}`)
  })
})
