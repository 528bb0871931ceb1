import assert from 'node:assert/strict'
import { readFileSync, writeFileSync } from 'node:fs'
import { LockedNedb } from '../../../adapters/nedb.ts'
import { encodeUnit, encodeUnitWith } from '../../../src/store/log/units.ts'
import { figures } from '../../fixtures/figures.ts'
import { idsOf, seenByVanilla, temporaryFolder, Vanilla, warnings } from '../../fixtures/nedb-tools.ts'

/** Between cuts in the middle of a unit, in bytes; near its ends, and with PSLOCK_LONG=1, it is cut at every byte. */
const STEP = process.env.PSLOCK_LONG === '1' ? 1 : 11

/** What the vanilla library makes of a file that ends in a unit cut short: all of the unit or a refusal, never half. */
describe('a cut unit in the eyes of vanilla NeDB', () => {
  const file = temporaryFolder()
  const warned = warnings()
  const lines = ['a', 'b', 'c'].map((id) => JSON.stringify({ _id: id, pad: 'x'.repeat(1400) }))
  const before = Buffer.from(`${Array.from({ length: 40 }, (_, n) => `{"_id":"old${n}"}`).join('\n')}\n`)
  const base64 = {
    afterSerialization: (line: string) => Buffer.from(line).toString('base64'),
    beforeDeserialization: (line: string) => Buffer.from(line, 'base64').toString(),
  }

  /** How vanilla sees each cut: how many of the unit's records, or a refusal. */
  async function cuts(
    unit: Buffer,
    first: Buffer,
    options: object,
    step: number,
  ): Promise<Map<string, number>> {
    const seen = new Map<string, number>()
    const filename = file('cut.db')
    for (let cut = 0; cut <= unit.length; cut += cut < 90 || cut > unit.length - 60 ? 1 : step) {
      const bytes = Buffer.concat([first, unit.subarray(0, cut)])
      writeFileSync(filename, bytes)
      const db = new Vanilla({ filename, ...options })
      let outcome: string
      try {
        await db.loadDatabaseAsync()
        const ids = idsOf(await db.findAsync({}))
        assert.equal(ids.filter((id) => id.startsWith('old')).length, 40)
        outcome = `${ids.length - 40}`
      } catch {
        outcome = 'refused'
        assert.deepEqual(
          readFileSync(filename),
          bytes,
          `cut at ${cut}: vanilla changed a file that it refused`,
        )
      }
      seen.set(outcome, (seen.get(outcome) ?? 0) + 1)
    }
    return seen
  }

  it('is whole, refused or absent, but for the marker line itself', async () => {
    const unit = encodeUnit(lines, before.length)
    const seen = await cuts(unit, before, {}, STEP)
    console.log(`      ${JSON.stringify(Object.fromEntries(seen))}`)
    assert.deepEqual([...seen.keys()].sort(), ['0', '3', 'refused'])
    assert.ok((seen.get('refused') ?? 0) > 300)
    figures('cuts of a unit of 4 kB, by what vanilla sees', {
      refused: seen.get('refused'),
      all: seen.get('3'),
      none: seen.get('0'),
    })
  })

  it('control: without the markers vanilla loads half of it', async () => {
    const seen = await cuts(Buffer.from(`${lines.join('\n')}\n`), before, {}, 101)
    assert.ok(seen.has('1') && seen.has('2'), JSON.stringify([...seen]))
  })

  it('is whole, refused or absent with serialization hooks too, however small', async () => {
    const coder = {
      encode: async (line: string) => base64.afterSerialization(line),
      decode: async (line: string) => base64.beforeDeserialization(line),
    }
    const encoded = before
      .toString()
      .trim()
      .split('\n')
      .map((line) => `${base64.afterSerialization(line)}\n`)
    const first = Buffer.from(encoded.join(''))
    const three = await Promise.all(['a', 'b', 'c'].map((id) => coder.encode(`{"_id":"${id}"}`)))
    const unit = await encodeUnitWith(coder, three, first.length)
    const seen = await cuts(unit, first, base64, 1)
    console.log(`      ${JSON.stringify(Object.fromEntries(seen))}`)
    assert.deepEqual([...seen.keys()].sort(), ['0', '3', 'refused'])
  })

  it('is mended by the next pslock open, and then vanilla opens the file again', async () => {
    const unit = encodeUnit(lines, before.length)
    for (const cut of [1, 30, 57, 58, 70, 1500, 3000, unit.length - 45, unit.length - 20, unit.length - 2]) {
      const filename = file(`mend-${cut}.db`)
      writeFileSync(filename, Buffer.concat([before, unit.subarray(0, cut)]))
      await using db = new LockedNedb({ filename, autoload: true })
      assert.equal(await db.countAsync({}), 40)
      assert.deepEqual(readFileSync(filename), before)
      assert.deepEqual(readFileSync(`${filename}.torn-1`), unit.subarray(0, cut))
      const vanilla = new Vanilla({ filename, corruptAlertThreshold: 0 })
      await vanilla.loadDatabaseAsync()
      assert.equal(await vanilla.countAsync({}), 40)
    }
    assert.ok(warned().every(({ code }) => code === 'PSLOCK_TORN_TAIL'))
  })

  it('is mended too where it was the very first of a new file', async () => {
    const small = encodeUnit(['{"_id":"a"}', '{"_id":"b"}'], 0)
    const large = encodeUnit(lines, 0)
    const lone = encodeUnit([JSON.stringify({ _id: 'a', pad: 'x'.repeat(5000) })], 0)
    for (const [name, unit] of Object.entries({ small, large, lone })) {
      const step = Math.max(1, Math.floor(unit.length / 40))
      for (let cut = 1; cut < unit.length - 1; cut += cut < 4 ? 1 : step) {
        const filename = file(`${name}-${cut}.db`)
        writeFileSync(filename, unit.subarray(0, cut))
        await using db = new LockedNedb({ filename, autoload: true })
        assert.equal(await db.countAsync({}), 0, `${name} cut at ${cut}`)
        await db.insertAsync({ _id: 'next' })
        assert.deepEqual(idsOf(await seenByVanilla(filename)), ['next'])
      }
    }
  })

  it('loads whole, without a trace of the markers', async () => {
    const filename = file('whole.db')
    writeFileSync(filename, encodeUnit(lines, 0))
    const vanilla = new Vanilla({ filename, corruptAlertThreshold: 0 })
    await vanilla.loadDatabaseAsync()
    assert.deepEqual(idsOf(await vanilla.findAsync({})), ['a', 'b', 'c'])
    assert.ok(!readFileSync(filename, 'utf8').includes('pslock'))
  })
})
