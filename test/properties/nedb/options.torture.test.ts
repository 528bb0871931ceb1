import assert from 'node:assert/strict'
import { existsSync, readFileSync, statSync } from 'node:fs'
import fc from 'fast-check'
import type { LockedNedbOptions } from '../../../adapters/nedb.ts'
import { useFolder } from '../../fixtures/folder.ts'
import { holds, source } from '../runs.ts'
import { step } from './generators.ts'
import { requireLikeModel, script } from './sequence.ts'

/** The user's serialization: a line and back. */
const HOOKS = {
  hex: {
    afterSerialization: (line: string) => Buffer.from(line).toString('hex'),
    beforeDeserialization: (line: string) => Buffer.from(line, 'hex').toString(),
  },
  reversed: {
    afterSerialization: (line: string) => [...line].reverse().join(''),
    beforeDeserialization: (line: string) => [...line].reverse().join(''),
  },
  asynchronous: {
    afterSerialization: async (line: string) => `+${Buffer.from(line).toString('base64')}`,
    beforeDeserialization: async (line: string) => Buffer.from(line.slice(1), 'base64').toString(),
  },
}

const options = fc.record(
  {
    durability: fc.constantFrom('process' as const, 'disk' as const),
    corruptAlertThreshold: fc.constantFrom(0, 0.1, 1),
    timestampData: fc.boolean(),
    hooks: fc.constantFrom(...(Object.keys(HOOKS) as (keyof typeof HOOKS)[])),
    ownLockPath: fc.constant(true),
    sliceMs: fc.constantFrom(0, 1, 1000),
    modes: fc.record({ fileMode: fc.constantFrom(0o600, 0o640, 0o644), dirMode: fc.constant(0o700) }),
  },
  { requiredKeys: [] },
)

describe('random options of a NeDB store', () => {
  const at = useFolder()

  it('change nothing of what its calls do', async function () {
    this.timeout(30 * 60_000)
    let cases = 0
    await holds(
      fc.record({ chosen: options, steps: fc.array(step, { minLength: 1, maxLength: 10 }) }),
      async ({ chosen: { hooks, ownLockPath, ...others }, steps }) => {
        const folder = at(String(++cases))
        const filename = `${folder}/case.db`
        const lockPath = at(`${cases}.elsewhere`)
        const given: LockedNedbOptions & { filename: string } = {
          filename,
          ...others,
          ...(hooks ? HOOKS[hooks] : {}),
          ...(ownLockPath ? { lockPath } : {}),
        }
        const { docs } = await requireLikeModel(steps, given)
        assert.equal(existsSync(lockPath), ownLockPath === true)
        assert.equal(existsSync(`${filename}.lock`), ownLockPath !== true)
        if (others.modes)
          assert.equal(statSync(filename).mode & 0o777, others.modes.fileMode & ~process.umask())
        if (others.modes) assert.equal(statSync(folder).mode & 0o777, 0o700)
        for (const doc of docs) assert.equal('createdAt' in doc, others.timestampData === true)
        if (hooks && docs.length > 0) assert.ok(!readFileSync(filename, 'utf8').includes('"_id"'))
      },
      {
        name: 'NeDB, random options',
        runs: 60,
        script: ({ chosen, steps }) => script(steps, `, /* ${source(chosen)} */`),
      },
    )
  })
})
