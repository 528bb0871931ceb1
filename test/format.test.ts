import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { brotliDecompressSync } from 'node:zlib'
import { LockedLow } from '../adapters/lowdb.ts'
import { LockedNedb } from '../adapters/nedb.ts'
import { GOLDEN, PARTS, runPart, type Step } from './fixtures/format-script.ts'

/** Where two texts part, and what stands there. */
function difference(found: string, golden: string): string {
  let at = 0
  while (at < found.length && found[at] === golden[at]) at++
  const around = (text: string) => JSON.stringify(text.slice(Math.max(0, at - 40), at + 80))
  return `at byte ${at} of ${found.length} (${golden.length}):\n${around(found)}\ninstead of\n${around(golden)}`
}

describe('the formats are, byte for byte, those of revision 72429dd', () => {
  const golden = JSON.parse(brotliDecompressSync(readFileSync(GOLDEN)).toString()) as Record<string, Step[]>

  it('the record has all parts of the script', () => {
    assert.deepEqual(Object.keys(golden), Object.keys(PARTS))
  })

  for (const part of Object.keys(PARTS)) {
    it(part, async () => {
      const steps = await runPart(part, { LockedNedb, LockedLow })
      assert.deepEqual(
        steps.map(({ name, files }) => [name, Object.keys(files)]),
        golden[part]?.map(({ name, files }) => [name, Object.keys(files)]),
      )
      for (const [at, { name, files }] of steps.entries()) {
        for (const [file, content] of Object.entries(files)) {
          const expected = golden[part]?.[at]?.files[file] as string
          assert.ok(content === expected, `${name}: ${file} differs ${difference(content, expected)}`)
        }
      }
    })
  }
})
