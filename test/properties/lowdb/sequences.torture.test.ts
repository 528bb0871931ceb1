import assert from 'node:assert/strict'
import { existsSync, readFileSync } from 'node:fs'
import fc from 'fast-check'
import { Low } from 'lowdb'
import { JSONFile } from 'lowdb/node'
import { LockedLow } from '../../../adapters/lowdb.ts'
import { useFolder } from '../../fixtures/folder.ts'
import { holds } from '../runs.ts'
import { step } from './generators.ts'
import { applyOp, perform, type Step, statement, type Tree } from './steps.ts'

/** What the file and memory must be: no locks, no merging, no drafts. */
class Model {
  file: Tree | undefined
  memory: Tree = {}
  #dumped: Tree | undefined

  /** @returns what a view sees */
  perform(step: Step): unknown {
    switch (step[0]) {
      case 'edit':
        return applyOp(this.memory, step[1])
      case 'write':
        return this.#save(this.memory)
      case 'read':
        // Of a file that never was nothing is read: the default data, and edits made to it, stay.
        if (this.file) this.memory = structuredClone(this.file)
        return
      case 'update':
      case 'transaction': {
        const draft = structuredClone(this.memory)
        for (const part of step[1]) {
          if (part[0] !== 'savepoint') applyOp(draft, part)
          else if (part[2] === 'commit') for (const op of part[1]) applyOp(draft, op)
        }
        if (step[2] === 'commit') this.#save(draft)
        return
      }
      case 'view':
        return structuredClone(this.memory)
      case 'reopen':
        this.memory = structuredClone(this.file ?? {})
        return
      case 'dump':
        this.#dumped = structuredClone(this.file)
        return
      case 'restore':
        if (this.#dumped) this.#save(structuredClone(this.#dumped))
        return
    }
  }

  #save(tree: Tree): void {
    this.memory = tree
    this.file = structuredClone(tree)
  }
}

function script(steps: readonly Step[], journal: boolean): string {
  return [
    "import { LockedJSONFilePreset } from 'pslock/lowdb'",
    "const path = 'case.json'",
    `const open = () => LockedJSONFilePreset(path, {}, { journal: ${journal} })`,
    'let db = await open()',
    ...steps.map((each) => statement(each)),
    'console.log(db.data)',
  ].join('\n')
}

describe('random sequences of calls and edits on a lowdb store', () => {
  const at = useFolder()

  async function open(path: string, journal = false): Promise<LockedLow<Tree>> {
    const db = new LockedLow<Tree>(path, {}, { journal })
    await db.read()
    return db
  }

  async function run(steps: readonly Step[], path: string, journal: boolean): Promise<void> {
    const model = new Model()
    let db = await open(path, journal)
    const other = await open(path, journal)
    let hasDump = false
    const asWhole = {
      reopen: async () => {
        await db.close()
        db = await open(path, journal)
      },
      dump: async () => {
        hasDump = existsSync(path)
        if (hasDump) await db.dump(`${path}.dump`, { overwrite: true })
        else await assert.rejects(db.dump(`${path}.dump`), { code: 'PSLOCK_STORE_IO' })
      },
      restore: async () => {
        if (hasDump) await db.restore(`${path}.dump`)
      },
    }
    for (const each of steps) {
      const [name] = each
      const whole = name === 'reopen' || name === 'dump' || name === 'restore' ? asWhole[name] : undefined
      const after = `after ${statement(each)}`
      if (journal && name === 'edit') continue
      // Nothing is there to be written: it puts the journal into the file instead.
      if (journal && name === 'write') await db.checkpoint()
      else {
        const done = whole ? await whole() : await perform(db, each)
        assert.deepEqual(done, model.perform(each), `${after}: what is seen`)
      }
      assert.deepEqual(db.data, model.memory, `${after}: memory (actual), and the model's (expected)`)
      if (journal) {
        await other.read()
        assert.deepEqual(other.data, model.file ?? {}, `${after}: another store object, and the model's file`)
        continue
      }
      const file = existsSync(path) ? (JSON.parse(readFileSync(path, 'utf8')) as Tree) : undefined
      assert.deepEqual(file, model.file, `${after}: the file, and the model's`)
    }
    await db.close()
    await other.close()
    const fresh = await open(path)
    assert.deepEqual(fresh.data, model.file ?? {}, 'a new store object sees something else')
    await fresh.close()
    const vanilla = new Low<Tree>(new JSONFile(path), {})
    await vanilla.read()
    assert.deepEqual(vanilla.data, model.file ?? {}, 'the vanilla library sees something else')
  }

  for (const [what, journal, runs] of [
    ['', false, 80],
    [', with a journal', true, 60],
  ] as const) {
    it(`do what a plain object does, and leave what every other reader sees${what}`, async function () {
      this.timeout(30 * 60_000)
      let cases = 0
      await holds(
        fc.array(step, { minLength: 1, maxLength: 20 }),
        (steps) => run(steps, at(`${++cases}.json`), journal),
        { name: `lowdb, sequences of calls${what}`, runs, script: (steps) => script(steps, journal) },
      )
    })
  }
})
