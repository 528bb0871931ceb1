import assert from 'node:assert/strict'
import type { LineCoder } from '../../../src/store/adapter.ts'
import { scanUnits, scanUnitsWith } from '../../../src/store/log/scan.ts'
import { encodeUnit, encodeUnitWith } from '../../../src/store/log/units.ts'

const BLOCK = 4096

/** Hooks that change every line, as an encrypting application's would. */
const hooks: LineCoder = {
  encode: async (line) => Buffer.from(line).toString('base64'),
  decode: async (line) => {
    if (line.startsWith('{')) throw new Error('not one of ours')
    return Buffer.from(line, 'base64').toString()
  },
}

const record = (id: string, bytes: number) => JSON.stringify({ _id: id, pad: 'ä'.repeat(bytes / 2) })
const SMALL = [record('a', 20), record('b', 40), record('c', 10)]
const LARGE = [record('a', 1500), record('b', 1500), record('c', 1600)]
const LONE = [record('a', 6000)]

/** A file that holds `before` bytes of earlier records, and how many those are. */
function earlier(before: number): { bytes: Buffer; lines: string[] } {
  if (before === 0) return { bytes: Buffer.alloc(0), lines: [] }
  const line = `{"p":"${'x'.repeat(before - 9)}"}`
  return { bytes: Buffer.from(`${line}\n`), lines: [line] }
}

const withoutSpace = (lines: readonly string[]) => lines.map((line) => line.trim())

describe('a unit of an append log', () => {
  const offsets = [0, 9, 2000, ...Array.from({ length: 240 }, (_, n) => BLOCK - 200 + n), 3 * BLOCK - 1]

  for (const [name, unit] of Object.entries({ small: SMALL, large: LARGE, 'single-line': LONE })) {
    it(`comes back whole from every offset near a block's end (${name})`, () => {
      for (const offset of offsets) {
        const { bytes, lines } = earlier(offset)
        assert.equal(bytes.length, offset)
        const scan = scanUnits(Buffer.concat([bytes, encodeUnit(unit, offset)]))
        assert.deepEqual(withoutSpace(scan.lines), [...lines, ...unit], `offset ${offset}`)
        assert.deepEqual([scan.end, scan.rest], [offset + encodeUnit(unit, offset).length, 'none'])
      }
    })
  }

  it('does not cross a block boundary if it fits in a block', () => {
    for (let size = 12; size <= BLOCK; size += 97) {
      for (const offset of [0, 1, 100, BLOCK - size, BLOCK - size + 1, BLOCK - 1].filter((at) => at >= 0)) {
        const unit = encodeUnit([`{"_id":"${'x'.repeat(size - 11)}"}`], offset)
        const start = offset + unit.findIndex((byte) => byte !== 10)
        const end = offset + unit.length - 1
        assert.equal(
          Math.floor(start / BLOCK),
          Math.floor(end / BLOCK),
          `${size} bytes at ${offset} stand at ${start}..${end}`,
        )
      }
    }
  })

  it('of exactly one block is not padded at a boundary, and needs no marker', () => {
    const line = `{"_id":"${'x'.repeat(BLOCK - 11)}"}`
    assert.equal(encodeUnit([line], BLOCK).length, BLOCK)
    const [half, rest] = [line.slice(0, 2000), line.slice(2003)]
    const two = encodeUnit([half, rest], 0)
    assert.equal(two.length, BLOCK)
    assert.ok(!two.includes('$$pslock'))
    assert.ok(encodeUnit([half, `${rest}x`], 0).includes('$$pslock'))
  })

  for (const [name, unit] of Object.entries({ small: SMALL, large: LARGE, 'single-line': LONE })) {
    it(`is read whole or not at all when it is cut at any byte (${name})`, () => {
      const { bytes: before, lines } = earlier(300)
      const bytes = encodeUnit(unit, before.length)
      for (let cut = 0; cut < bytes.length; cut++) {
        const scan = scanUnits(Buffer.concat([before, bytes.subarray(0, cut)]))
        const got = withoutSpace(scan.lines)
        const where = `cut at ${cut} of ${bytes.length}`
        if (got.length > lines.length) {
          // Only the last line feed is missing, and the lines are already known to be all of it.
          assert.deepEqual(
            [got, cut, scan.rest],
            [[...lines, ...unit], bytes.length - 1, 'unterminated'],
            where,
          )
          continue
        }
        assert.deepEqual(got, lines, where)
        if (scan.rest === 'unterminated') assert.deepEqual([unit.length, cut], [1, bytes.length - 1], where)
        if (scan.rest === 'none') assert.equal(scan.end, before.length + cut, where)
        assert.ok(scan.end >= before.length && scan.end <= before.length + cut, where)
      }
    })
  }

  for (const [name, unit] of Object.entries({ small: SMALL, large: LARGE })) {
    it(`is read whole or not at all with serialization hooks (${name})`, async () => {
      const encoded = (lines: string[]) => Promise.all(lines.map((line) => hooks.encode(line)))
      const before = await encodeUnitWith(hooks, await encoded(['{"_id":"first"}']), 0)
      const bytes = await encodeUnitWith(hooks, await encoded(unit), before.length)
      const whole = await scanUnitsWith(hooks, Buffer.concat([before, bytes]))
      assert.deepEqual([whole.lines, whole.rest], [['{"_id":"first"}', ...unit], 'none'])
      for (let cut = 0; cut < bytes.length; cut++) {
        const scan = await scanUnitsWith(hooks, Buffer.concat([before, bytes.subarray(0, cut)]))
        if (scan.lines.length === 1) assert.ok(scan.end >= before.length, `cut at ${cut}`)
        else
          assert.deepEqual(
            [scan.lines, scan.rest],
            [['{"_id":"first"}', ...unit], 'unterminated'],
            `cut at ${cut} of ${bytes.length}`,
          )
      }
    })
  }

  it('is handed out line by line where it is closed, and does not fit its length or checksum', () => {
    const bytes = encodeUnit(LARGE, 0)
    const body = bytes.indexOf('\n') + 1
    for (let at = body; at < bytes.length - 50; at += 61) {
      const damaged = Buffer.from(bytes)
      damaged[at] = (damaged[at] as number) ^ 1
      const lines = damaged.toString('utf8').split('\n').slice(1, -2)
      assert.deepEqual(
        scanUnits(damaged),
        { lines, end: bytes.length, rest: 'none', isChanged: true },
        `byte ${at}`,
      )
    }
  })

  it('is handed out line by line where a block of it is zeros, and something whole follows', () => {
    const first = encodeUnit(SMALL, 0)
    const second = encodeUnit(LARGE, first.length)
    const third = encodeUnit(['{"_id":"later"}'], first.length + second.length)
    const bytes = Buffer.concat([first, second, third])
    bytes.fill(0, BLOCK, BLOCK + 512)
    const scan = scanUnits(bytes)
    assert.deepEqual([scan.end, scan.rest, scan.isChanged], [bytes.length, 'none', true])
    // The hole lies within one line: all the others are as they were.
    const all = [...SMALL, ...LARGE, '{"_id":"later"}']
    assert.equal(scan.lines.length, all.length)
    const found = withoutSpace(scan.lines)
    const damaged = found.findIndex((line) => line.includes('\0'))
    assert.deepEqual(found.toSpliced(damaged, 1), all.toSpliced(damaged, 1))
  })

  it('is not expected behind a line that was edited by hand and ends in a space', () => {
    const text = '{"_id":"a"} \n{"_id":"b"} \n'
    const { lines, end, rest } = scanUnits(Buffer.from(text))
    assert.deepEqual([withoutSpace(lines), end, rest], [['{"_id":"a"}', '{"_id":"b"}'], text.length, 'none'])
  })

  it('leaves a complete record without its line feed to be terminated, and a cut one to be removed', () => {
    for (const [text, rest] of [
      ['{"_id":"a"}', 'unterminated'],
      ['{"_id":"a"', 'torn'],
      ['{"_id":"a"}\n{"_id', 'torn'],
      ['12', 'torn'],
    ] as const) {
      assert.equal(scanUnits(Buffer.from(text)).rest, rest, text)
    }
  })
})
