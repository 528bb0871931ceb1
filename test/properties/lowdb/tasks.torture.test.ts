import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import fc from 'fast-check'
import { LockedLow } from '../../../adapters/lowdb.ts'
import { StaleWriteError } from '../../../src/errors.ts'
import { useFolder } from '../../fixtures/folder.ts'
import { note } from '../../fixtures/random.ts'
import { holds, source } from '../runs.ts'

interface Data {
  list: string[]
  records: { id: string }[]
  keys: Record<string, true>
  nested?: Record<string, string[]>
  n: number
}

const EMPTY: Data = { list: [], records: [], keys: {}, n: 0 }

/** Where an edit puts its mark. */
const PLACES = ['list', 'records', 'keys', 'nested'] as const
type Place = (typeof PLACES)[number]

/** What one task of a process does, one thing after the other; `pause` lets the others go on. */
type Action =
  | readonly ['edit', Place]
  | readonly ['read' | 'write' | 'look' | 'count' | 'their count']
  | readonly ['write and edit', Place]
  | readonly ['update' | 'transaction', Place, 'at once' | 'later' | 'throw']
  | readonly ['hold', milliseconds: number]
  | readonly ['theirs', Place]
  | readonly ['replace']
  | readonly ['pause', turns: number]

const place = fc.constantFrom(...PLACES)
const action: fc.Arbitrary<Action> = fc.oneof(
  { weight: 4, arbitrary: fc.tuple(fc.constant('edit' as const), place) },
  { weight: 6, arbitrary: fc.constantFrom<Action>(['read'], ['write']) },
  { weight: 2, arbitrary: fc.constantFrom<Action>(['look'], ['count'], ['their count'], ['replace']) },
  { weight: 1, arbitrary: fc.tuple(fc.constant('write and edit' as const), place) },
  {
    weight: 3,
    arbitrary: fc.tuple(
      fc.constantFrom('update' as const, 'transaction' as const),
      place,
      fc.constantFrom('at once' as const, 'later' as const, 'throw' as const),
    ),
  },
  { weight: 1, arbitrary: fc.tuple(fc.constant('hold' as const), fc.integer({ min: 0, max: 4 })) },
  { weight: 2, arbitrary: fc.tuple(fc.constant('theirs' as const), place) },
  { weight: 3, arbitrary: fc.tuple(fc.constant('pause' as const), fc.integer({ min: 0, max: 5 })) },
)
const tasks = fc.array(fc.array(action, { minLength: 1, maxLength: 8 }), { minLength: 1, maxLength: 4 })

function put(data: Data, where: Place, mark: string): void {
  if (where === 'list') data.list.push(mark)
  else if (where === 'records') data.records.push({ id: mark })
  else if (where === 'keys') data.keys[mark] = true
  else data.nested = { ...data.nested, [mark]: [mark] }
}

/** Every mark in it, as often as it is there. */
function marksIn(data: Data): string[] {
  const { list, records, keys, nested = {} } = data
  return [...list, ...records.map(({ id }) => id), ...Object.keys(keys), ...Object.keys(nested)]
}

/** What tasks do on one store object, and what may and must be in the file because of it. */
class Run {
  /** Acknowledged: by whom. */
  readonly kept = new Map<string, string>()
  /** Made by a callback that threw: nobody may ever see them. */
  readonly refused = new Set<string>()
  refusals = 0
  readonly #db: LockedLow<Data>
  readonly #other: LockedLow<Data>
  #marks = 0

  constructor(db: LockedLow<Data>, other: LockedLow<Data>) {
    this.#db = db
    this.#other = other
  }

  async task(actions: readonly Action[]): Promise<void> {
    for (const one of actions) await this.#perform(one)
  }

  #mark(): string {
    return `m${++this.#marks}`
  }

  async #perform(one: Action): Promise<void> {
    const db = this.#db
    switch (one[0]) {
      case 'edit':
        return put(db.data, one[1], this.#mark())
      case 'count':
        db.data.n++
        return
      case 'their count':
        return this.#other.update((data) => void data.n++)
      case 'replace':
        db.data = structuredClone(db.data)
        return
      case 'read':
        return db.read()
      case 'look':
        // It shows unsaved edits too, unless they stand against the file.
        return this.#acknowledged(
          'view',
          [],
          db.view(({ data }) => data.n),
        )
      case 'write':
        return this.#acknowledged('write', marksIn(db.data), db.write())
      case 'write and edit': {
        const owned = marksIn(db.data)
        const writing = db.write()
        put(db.data, one[1], this.#mark())
        return this.#acknowledged('write', owned, writing)
      }
      case 'update':
      case 'transaction':
        return this.#update(one)
      case 'hold': {
        const held = await this.#other.lock.acquire()
        await sleep(one[1])
        held.release()
        return
      }
      case 'theirs': {
        const mark = this.#mark()
        return this.#acknowledged(
          'theirs',
          [mark],
          this.#other.update((data) => put(data, one[1], mark)),
        )
      }
      case 'pause':
        for (let turn = 0; turn < one[1]; turn++) await new Promise(setImmediate)
    }
  }

  async #update([how, where, end]: readonly ['update' | 'transaction', Place, string]): Promise<void> {
    const mark = this.#mark()
    const thrown = new Error('thrown by the callback')
    const edit = async (data: Data) => {
      put(data, where, mark)
      if (end !== 'at once') await new Promise(setImmediate)
      if (end === 'throw') throw thrown
    }
    const db = this.#db
    if (end === 'throw') this.refused.add(mark)
    const owned = marksIn(db.data)
    const call = how === 'update' ? db.update(edit) : db.transaction(({ data }) => edit(data))
    try {
      await this.#acknowledged(how, [mark, ...owned], call)
    } catch (error) {
      if (error !== thrown) throw error
    }
  }

  async #acknowledged(by: string, owned: readonly string[], call: Promise<unknown>): Promise<void> {
    try {
      await call
    } catch (error) {
      if (!(error instanceof StaleWriteError)) throw error
      this.refusals++
      return
    }
    for (const mark of owned) this.kept.set(mark, by)
  }
}

function script(example: readonly (readonly Action[])[]): string {
  return `// tasks of one process, each one thing after the other; see ${import.meta.url.split('/').at(-1)}\n${source(example)}`
}

describe('tasks of one process that read, edit, write and update one lowdb store', () => {
  const at = useFolder()

  it('keep what was acknowledged and nothing that was refused, in any order of calls', async function () {
    this.timeout(30 * 60_000)
    let cases = 0
    let kept = 0
    let refusals = 0
    await holds(
      tasks,
      async (example) => {
        const path = at(`${++cases}.json`)
        const db = new LockedLow<Data>(path, structuredClone(EMPTY))
        const other = new LockedLow<Data>(path, structuredClone(EMPTY))
        await other.update(() => {})
        await db.read()
        const run = new Run(db, other)
        await Promise.all(example.map((actions) => run.task(actions)))
        const file = JSON.parse(readFileSync(path, 'utf8')) as Data
        const found = marksIn(file)
        for (const [mark, by] of run.kept)
          assert.ok(found.includes(mark), `${mark}, acknowledged by ${by}, is lost`)
        for (const mark of run.refused)
          assert.ok(!found.includes(mark), `${mark}, which was refused, is kept`)
        assert.equal(new Set(found).size, found.length, `something is there twice: ${found}`)
        await db.read()
        assert.deepEqual(db.data, file, 'what a read sees at the end')
        await Promise.all([db.close(), other.close()])
        kept += run.kept.size
        refusals += run.refusals
      },
      { name: 'lowdb, tasks of one process', runs: 150, script },
    )
    note(`${kept} marks acknowledged, ${refusals} writes refused as stale`)
  })
})
