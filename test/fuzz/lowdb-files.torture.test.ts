import assert from 'node:assert/strict'
import { isUtf8 } from 'node:buffer'
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import fc from 'fast-check'
import { LockedLow } from '../../adapters/lowdb.ts'
import { check, closedFile, repair } from '../../src/features/backup/backup.ts'
import { jsonFormat } from '../../src/features/backup/json-format.ts'
import { CorruptStoreError, PsLock } from '../../src/index.ts'
import { useFolder } from '../fixtures/folder.ts'
import { note } from '../fixtures/random.ts'
import { holds } from '../properties/runs.ts'
import { mutated, mutation } from './mutations.ts'

const file = fc
  .jsonValue({ maxDepth: 4, stringUnit: 'binary' })
  .map((value) => Buffer.from(JSON.stringify({ value, list: [1, 'ä😀'] }, null, 2)))

/** As lowdb reads it; undefined where it cannot. */
function asVanilla(bytes: Buffer): { tree: unknown } | undefined {
  try {
    return { tree: JSON.parse(bytes.toString()) as unknown }
  } catch {
    return undefined
  }
}

describe('mutated files of a lowdb store', () => {
  const at = useFolder()

  it('are loaded as the vanilla library would, or refused as corrupt, and never rewritten', async function () {
    this.timeout(30 * 60_000)
    const seen = { loaded: 0, refused: 0, repaired: 0 }
    let cases = 0
    await holds(
      fc
        .tuple(file, fc.array(mutation, { maxLength: 3 }))
        .map(([bytes, changes]) => changes.reduce(mutated, bytes)),
      async (bytes) => {
        const folder = at(String(++cases))
        mkdirSync(folder)
        const path = `${folder}/db.json`
        writeFileSync(path, bytes)
        const db = new LockedLow<unknown>(path, { default: true })
        const refusal = await db.read().then(
          () => undefined,
          (error: unknown) => error,
        )
        await db.close()
        assert.deepEqual(readFileSync(path), bytes, 'opening has changed the file')
        assert.deepEqual(readdirSync(folder).sort(), ['db.json', 'db.json.lock'])
        const vanilla = asVanilla(bytes)
        const lock = new PsLock(path)
        const stored = closedFile(path, lock, 5000, jsonFormat)
        const findings = await check(stored)
        // lowdb reads bytes that are no text as U+FFFD, and the next write makes that final.
        if (vanilla && isUtf8(bytes)) {
          seen.loaded++
          assert.equal(refusal, undefined)
          assert.deepEqual(db.data, vanilla.tree)
          assert.deepEqual(findings, [])
        } else {
          seen.refused++
          assert.ok(refusal instanceof CorruptStoreError, String(refusal))
          const { line, byte } = refusal
          assert.ok(byte !== undefined && byte <= bytes.length, `no byte: ${refusal.message}`)
          assert.equal(line, bytes.toString('latin1', 0, byte).split('\n').length, refusal.message)
          if (isUtf8(bytes)) assert.ok(mayBegin(bytes.subarray(0, byte)), `it is wrong before byte ${byte}`)
          assert.ok(findings.length > 0, 'check() finds nothing')
          const mended = await repair(stored).catch((error: unknown) => error)
          if (mended instanceof Error) {
            assert.ok(mended instanceof CorruptStoreError, String(mended))
            assert.deepEqual(readFileSync(path), bytes, 'a failed repair has changed the file')
          } else {
            seen.repaired++
            const removed = readFileSync(`${path}.removed-1`)
            // Byte order marks stood before what is left, all else behind it.
            const [marks = ''] = /^\ufeff*/.exec(bytes.toString()) ?? []
            const before = Buffer.byteLength(marks)
            assert.deepEqual(
              Buffer.concat([removed.subarray(0, before), readFileSync(path), removed.subarray(before)]),
              bytes,
              'something was lost in a repair',
            )
            JSON.parse(readFileSync(path, 'utf8'))
          }
        }
        await lock.close()
        rmSync(folder, { recursive: true })
      },
      {
        name: 'lowdb, mutated files',
        runs: 300,
        script: (bytes) =>
          [
            "import { writeFileSync } from 'node:fs'",
            "import { LockedJSONFilePreset } from 'pslock/lowdb'",
            `writeFileSync('case.json', Buffer.from('${bytes.toString('base64')}', 'base64'))`,
            "console.log((await LockedJSONFilePreset('case.json', {})).data)",
          ].join('\n'),
      },
    )
    note(JSON.stringify(seen))
    assert.ok(
      process.env.PSLOCK_PATH !== undefined || Math.min(...Object.values(seen)) > 0,
      'all of it must occur',
    )
  })

  /** Whether a text is what a JSON text may begin with: then its parser complains of nothing but its end. */
  function mayBegin(bytes: Buffer): boolean {
    const text = bytes.toString()
    try {
      JSON.parse(text)
      return true
    } catch (error) {
      const { message } = error as Error
      const position = /position (\d+)/.exec(message)?.[1]
      return /end of JSON input|Unterminated/.test(message) || Number(position) >= text.length
    }
  }
})
