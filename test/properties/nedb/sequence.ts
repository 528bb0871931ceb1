import assert from 'node:assert/strict'
import { copyFileSync } from 'node:fs'
import type { LockedNedbOptions } from '../../../adapters/nedb.ts'
import { Vanilla } from '../../fixtures/nedb-tools.ts'
import { type Inside, Model, type State, stateOf } from './model.ts'
import { perform, type Step, statement } from './steps.ts'
import { Subject } from './subject.ts'

/** What the unmodified library finds in a copy of the file: loading rewrites it. */
export async function vanillaState(path: string, options: LockedNedbOptions = {}): Promise<State> {
  copyFileSync(path, `${path}.copy`)
  const { afterSerialization, beforeDeserialization } = options
  const hooks = afterSerialization ? { afterSerialization, beforeDeserialization } : {}
  const db = new Vanilla({ filename: `${path}.copy`, corruptAlertThreshold: 0, ...hooks })
  await db.loadDatabaseAsync()
  return stateOf(db as unknown as Inside)
}

/** When the store writes down when, the model was a moment earlier. */
function untimed(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(untimed)
  if (typeof value !== 'object' || value === null || value instanceof Date) return value
  const { createdAt: _, updatedAt: __, ...others } = value as Record<string, unknown>
  return Object.fromEntries(Object.entries(others).map(([key, inner]) => [key, untimed(inner)]))
}

/**
 * Performs the steps on a new locked store and on the model: the outcomes are the same, memory equals the model at each
 * `look` and at the end, and so does what a new store object and the vanilla library read from the file. Not after every
 * step: to look at memory settles what was put off, so that no step would ever meet that.
 * @param seenByVanilla where it is in no file
 */
export async function requireLikeModel(
  steps: readonly Step[],
  options: LockedNedbOptions & { filename: string },
  seenByVanilla: typeof vanillaState = vanillaState,
): Promise<State> {
  const seen = options.timestampData ? untimed : (value: unknown) => value
  const subject = await Subject.open(options)
  const model = await Model.from({ docs: [], indexes: [] })
  for (const step of steps) {
    const [done, expected] = [await perform(subject, step), await perform(model, step)]
    const after = `after ${statement(step)}`
    assert.deepEqual(seen(done), expected, `${after}: the outcome (actual), and the model's (expected)`)
  }
  assert.deepEqual(seen(subject.state), model.state, "at the end: memory, and the model's")
  await subject.close()
  const fresh = await Subject.open(options)
  const { state } = fresh
  await fresh.end()
  assert.deepEqual(seen(state), model.state, 'a new store object sees something else')
  assert.deepEqual(
    await seenByVanilla(options.filename, options),
    state,
    'the vanilla library sees something else',
  )
  return state
}

export function script(steps: readonly Step[], options = ''): string {
  return [
    "import { LockedNedb } from 'pslock/nedb'",
    "const path = 'case.db'",
    `const open = () => new LockedNedb({ filename: path, autoload: true${options} })`,
    'let db = open()',
    ...steps.map((step) => statement(step)),
    'console.log(await db.findAsync({}))',
  ].join('\n')
}
