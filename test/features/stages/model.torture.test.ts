import assert from 'node:assert/strict'
import fc from 'fast-check'
import { merge } from '../../../src/store/json/merge.ts'
import { useFolder } from '../../fixtures/folder.ts'
import { newSeed, note, random } from '../../fixtures/random.ts'
import { type Good, STAGED_KINDS } from '../../fixtures/staged-stores.ts'
import { STAGED_TREES, type Tree } from '../../fixtures/staged-trees.ts'
import { holds, source } from '../../properties/runs.ts'

type Goods = Record<string, Good>

/** Steps of the stage's user; `theirs` is somebody else, who changes another field. */
type Step =
  | readonly ['price', id: string, price: number]
  | readonly ['tags', id: string, tags: readonly string[]]
  | readonly ['insert', id: string, price: number]
  | readonly ['remove', id: string]
  | readonly ['undo' | 'redo', count: number]
  | readonly ['again']
  | readonly ['theirs', id: string, color: string]

const id = fc.constantFrom('a', 'b', 'c')
const number = fc.integer({ min: 0, max: 9 })
const count = fc.integer({ min: 1, max: 3 })
const step: fc.Arbitrary<Step> = fc.oneof(
  fc.tuple(fc.constant('price' as const), id, number),
  fc.tuple(fc.constant('tags' as const), id, fc.array(fc.constantFrom('x', 'y', 'z'), { maxLength: 3 })),
  fc.tuple(fc.constant('insert' as const), id, number),
  fc.tuple(fc.constant('remove' as const), id),
  fc.tuple(fc.constantFrom('undo' as const, 'redo' as const), count),
  fc.tuple(fc.constant('again' as const)),
  // Of goods that the stage never removes: that would be a conflict.
  fc.tuple(fc.constant('theirs' as const), fc.constantFrom('k', 'l'), fc.constantFrom('red', 'blue')),
)
const kept = fc.tuple(fc.constant('price' as const), fc.constantFrom('k', 'l'), number)
const steps = fc.array(fc.oneof({ arbitrary: step, weight: 4 }, { arbitrary: kept, weight: 1 }), {
  maxLength: 20,
})

const BEGIN: Goods = {
  a: { _id: 'a', price: 0, tags: [] },
  b: { _id: 'b', price: 1, tags: ['x'] },
  k: { _id: 'k', price: 2, color: 'green' },
  l: { _id: 'l', price: 3 },
}

/** A list of states, and which of them is the present one: nothing is recorded, and nothing merged. */
class Model {
  #states: Goods[] = [structuredClone(BEGIN)]
  #at = 0
  #colors: Record<string, string> = { k: 'green' }

  get goods(): Goods {
    const goods = structuredClone(this.#states[this.#at] as Goods)
    for (const [key, color] of Object.entries(this.#colors)) goods[key] = { ...(goods[key] as Good), color }
    return goods
  }

  /** @returns what the store has where nothing is committed */
  get store(): Goods {
    return Object.fromEntries(
      Object.entries(BEGIN).map(([key, good]) => [
        key,
        key in this.#colors ? { ...good, color: this.#colors[key] as string } : good,
      ]),
    )
  }

  edit(edit: (goods: Goods) => void): void {
    const next = structuredClone(this.#states[this.#at] as Goods)
    edit(next)
    try {
      assert.deepEqual(next, this.#states[this.#at])
    } catch {
      this.#states = [...this.#states.slice(0, this.#at + 1), next]
      this.#at++
    }
  }

  undo(count: number): number {
    const done = Math.min(count, this.#at)
    this.#at -= done
    return done
  }

  redo(count: number): number {
    const done = Math.min(count, this.#states.length - 1 - this.#at)
    this.#at += done
    return done
  }

  theirs(key: string, color: string): void {
    this.#colors[key] = color
  }
}

describe('a stage against a list of states', () => {
  const at = useFolder()

  for (const { name, open } of STAGED_KINDS.filter(({ name }) => !name.includes('table'))) {
    it(`${name}: edits, undo and redo, while others change other fields`, async function () {
      this.timeout(300_000)
      let run = 0
      const property = async (steps: readonly Step[]) => {
        const store = await open(at(`${name} ${++run}`))
        const model = new Model()
        for (const good of Object.values(BEGIN)) await store.insert(good)
        let stage = await store.stage('session')
        const perform = async (
          edit: Promise<void>,
          key: string,
          isThere: boolean,
          change: (goods: Goods) => void,
        ) => {
          if (isThere !== key in model.goods) return assert.rejects(edit)
          await edit
          return model.edit(change)
        }
        for (const [kind, ...args] of steps) {
          const [key, value] = args as [string, never]
          switch (kind) {
            case 'price':
            case 'tags': {
              const change = (goods: Goods) => {
                goods[key] = { ...(goods[key] as Good), [kind]: value }
              }
              await perform(stage.set(key, { [kind]: value }), key, true, change)
              break
            }
            case 'insert': {
              const good = { _id: key, price: value as number }
              await perform(stage.insert(good), key, false, (goods) => {
                goods[key] = good
              })
              break
            }
            case 'remove':
              await perform(stage.remove(key), key, true, (goods) => {
                delete goods[key]
              })
              break
            case 'undo':
            case 'redo': {
              const [steps] = args as unknown as [number]
              assert.equal(await stage[kind](steps), model[kind](steps))
              break
            }
            case 'again':
              stage = await store.stage('session')
              break
            case 'theirs':
              await store.set(key, { color: value })
              model.theirs(key, value)
          }
          assert.deepEqual(await stage.all(), sorted(model.goods))
        }
        assert.deepEqual(await store.all(), sorted(model.store))
        assert.deepEqual(await stage.check(), [])
        await stage.commit()
        assert.deepEqual(await store.all(), sorted(model.goods))
        await store.close()
      }
      await holds(steps, property, { name: `stages of ${name}`, runs: 60, script: source })
    })
  }
})

function sorted(goods: Goods): Goods {
  return Object.fromEntries(Object.entries(goods).sort(([a], [b]) => (a < b ? -1 : 1)))
}

const KEYS = ['a', 'b', 'c', 'd'] as const

/** Random trees, with lists of records, and random changes of them. */
class Trees {
  readonly #random: () => number
  #next = 10

  constructor(seed: number) {
    this.#random = random(seed)
  }

  whole(below: number): number {
    return Math.floor(this.#random() * below)
  }

  isOneOf(count: number): boolean {
    return this.whole(count) === 0
  }

  value(depth = 0): Tree {
    const leaves = [this.whole(3), `s${this.whole(3)}`, null, true]
    const kind = depth > 2 ? 0 : this.whole(6)
    if (kind === 5) return Array.from({ length: this.whole(3) }, () => this.value(depth + 1))
    if (kind === 4)
      return [1, 2, 3, '1'].filter(() => this.isOneOf(2)).map((id) => ({ id, v: this.value(depth + 1) }))
    if (kind < 3) return leaves[this.whole(4)]
    return Object.fromEntries(KEYS.filter(() => this.isOneOf(3)).map((key) => [key, this.value(depth + 1)]))
  }

  tree(): Tree {
    const records = (count: number) =>
      Array.from({ length: count }, (_, index) => ({ id: index + 1, v: this.value(1) }))
    return { a: records(3), b: { c: records(2), a: 1 }, c: this.value(), d: this.value() }
  }

  /** @param mayMove whether records may change their order, be cut and pasted, and stand anywhere */
  change(inside: Tree, mayMove: boolean, depth = 0): void {
    if (Array.isArray(inside)) this.#changeList(inside, mayMove, depth)
    else {
      const key = KEYS[this.whole(4)] as string
      const value = inside[key]
      if (typeof value === 'object' && value && !this.isOneOf(4)) this.change(value, mayMove, depth + 1)
      else if (this.isOneOf(5)) delete inside[key]
      else inside[key] = this.value(depth + 1)
    }
  }

  #changeList(list: Tree[], mayMove: boolean, depth: number): void {
    const at = this.whole(list.length)
    const place = mayMove ? this.whole(list.length + 1) : list.length
    const kind = this.whole(mayMove ? 8 : 6)
    if (kind < 3 && list.length > 0) {
      if (typeof list[at] === 'object' && list[at]) this.change(list[at], mayMove, depth + 1)
      else list[at] = this.value(depth + 1)
    } else if (kind < 4) list.splice(at, 1)
    else if (kind < 6) list.splice(place, 0, this.#newIn(list, mayMove))
    else if (kind < 7) list.reverse()
    else list.splice(place, 0, ...list.splice(at, 1))
  }

  #newIn(list: Tree[], mayMove: boolean): Tree {
    const known = [1, 2, 3].filter((id) => list.every((record) => record?.id !== id))
    if (mayMove && known.length > 0 && this.isOneOf(2)) return { id: known[this.whole(known.length)], v: 1 }
    return { id: this.#next++, v: 1 }
  }
}

describe('a stage against the same edits made directly', () => {
  const at = useFolder()
  for (const { name, open } of STAGED_TREES) {
    it(`${name}: one user`, async function () {
      this.timeout(300_000)
      const seed = newSeed()
      note(`seed ${seed}`)
      for (let round = 0; round < 80; round++) {
        const trees = new Trees(seed + round)
        const states = [trees.tree()]
        let now = 0
        const db = await open(at(`${name} ${round}`), states[0])
        const where = `PSLOCK_SEED=${seed}, round ${round}`
        for (let step = 0; step < 8; step++) {
          const kind = trees.whole(7)
          if (kind === 0) now -= await db.undo()
          else if (kind === 1) now += await db.redo()
          else {
            const next = structuredClone(states[now])
            for (let count = trees.whole(3); count >= 0; count--) trees.change(next, true)
            await db.edit((tree) => {
              for (const key of KEYS) delete tree[key]
              Object.assign(tree, structuredClone(next))
            })
            if (!isSame(next, states[now])) states.splice(++now, states.length, next)
          }
          assert.deepEqual(await db.seen(), states[now], where)
          assert.deepEqual(await db.check(), [], where)
        }
        await db.commit()
        assert.deepEqual(await db.stored(), states[now], where)
        await db.close()
      }
    })

    it(`${name}: two users, against a merge of the whole trees`, async function () {
      this.timeout(300_000)
      const seed = newSeed()
      const counts = { clean: 0, conflicts: 0, removed: 0 }
      for (let round = 0; round < 150; round++) {
        const trees = new Trees(seed + round)
        const base = trees.tree()
        const db = await open(at(`two ${name} ${round}`), base)
        const where = `PSLOCK_SEED=${seed}, round ${round}`
        for (let count = trees.whole(3); count >= 0; count--)
          await db.edit((tree) => trees.change(tree, false))
        const mine = plain(await db.seen())
        for (let count = trees.whole(2); count >= 0; count--)
          await db.others((tree) => trees.change(tree, false))
        const merged = merge(base, mine, plain(await db.stored()))
        const conflicts = await db.check()
        if (conflicts.length > 0) assert.ok(merged.conflicts.length > 0, where)
        // Records that were removed from a list which others have replaced: for the stage both have removed them.
        else if (!('merged' in merged)) counts.removed++
        if ('merged' in merged) {
          counts.clean++
          await db.commit()
          assert.deepEqual(ordered(await db.stored()), ordered(merged.merged), where)
        } else {
          counts.conflicts += conflicts.length > 0 ? 1 : 0
          const seen = plain(await db.seen())
          await db.commit(() => 'mine')
          assert.deepEqual(plain(await db.stored()), seen, where)
        }
        await db.close()
      }
      note(`seed ${seed}: ${JSON.stringify(counts)}`)
      assert.ok(counts.removed < 5, `PSLOCK_SEED=${seed}`)
    })
  }
})

/** Which of two new records at the same place of a list comes first, nobody says. */
function ordered(tree: Tree): Tree {
  const place = (record: Tree) => (record?.id >= 10 ? record.id : 0)
  return JSON.parse(JSON.stringify(tree), (_, value) =>
    Array.isArray(value) ? value.sort((x, y) => place(x) - place(y)) : value,
  )
}

const plain = (tree: Tree): Tree => JSON.parse(JSON.stringify(tree))

function isSame(a: unknown, b: unknown): boolean {
  try {
    assert.deepEqual(a, b)
    return true
  } catch {
    return false
  }
}
