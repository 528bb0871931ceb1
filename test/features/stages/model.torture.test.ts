import assert from 'node:assert/strict'
import fc from 'fast-check'
import { useFolder } from '../../fixtures/folder.ts'
import { type Good, STAGED_KINDS } from '../../fixtures/staged-stores.ts'
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
