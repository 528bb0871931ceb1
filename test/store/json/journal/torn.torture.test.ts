import assert from 'node:assert/strict'
import {
  chmodSync,
  copyFileSync,
  existsSync,
  readdirSync,
  readFileSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs'
import { LockedLow, LockedLowSync } from '../../../../adapters/lowdb.ts'
import { entriesOf } from '../../../../src/store/json/journal/journal.ts'
import { useFolder } from '../../../fixtures/folder.ts'
import { warnings } from '../../../fixtures/nedb-tools.ts'

interface Data {
  n: number
  list: string[]
}

/** What crashes and power loss leave of a journal. */
describe('a journal that was cut short', () => {
  const at = useFolder()
  warnings()
  const path = () => at('db.json')
  const journal = () => at('db.json.journal')
  const open = (options = {}) =>
    new LockedLow<Data>(path(), { n: 0, list: [] }, { journal: true, ...options })
  const torn = () => readdirSync(at()).filter((name) => name.includes('.torn-'))

  /** @returns the journal, and where its units end */
  async function written(): Promise<{ whole: Buffer; ends: number[] }> {
    const db = open()
    const ends: number[] = []
    for (let n = 1; n <= 4; n++) {
      await db.update((data) => {
        data.n = n
        data.list.push(`line ${n}: ä€`)
      })
      ends.push(existsSync(journal()) ? readFileSync(journal()).length : 0)
    }
    return { whole: readFileSync(journal()), ends }
  }

  /** Only a file whose journal has its first unit on the disk is marked as one that has a journal. */
  function begin(bytes: Buffer): void {
    copyFileSync(at('base'), path())
    if (entriesOf(bytes).base === undefined) chmodSync(path(), 0o644)
    writeFileSync(journal(), bytes)
  }

  it('at any byte has its whole units, and the rest is kept', async () => {
    const { whole, ends } = await written()
    const lastBegins = ends.at(-2) ?? 0
    copyFileSync(path(), at('base'))
    // Of the last unit every byte, of those before it some.
    for (let length = 0; length < whole.length; length += length < lastBegins ? 7 : 1) {
      begin(whole.subarray(0, length))
      const n = 1 + ends.slice(1).filter((end) => end <= length).length
      const isWhole = [0, ...ends, whole.indexOf('\n') + 1].includes(length)
      const reader = new LockedLow<Data>(path(), { n: 0, list: [] })
      await reader.read()
      assert.equal(reader.data.n, n, `${length} bytes, read`)
      assert.equal(readFileSync(journal()).length, length, 'a reader mends nothing')
      const [db, sync] = [open(), new LockedLowSync<Data>(path(), { n: 0, list: [] })]
      if (length % 2 === 0) await db.update((data) => void data.n++)
      else sync.update((data) => void data.n++)
      await db.read()
      assert.deepEqual([db.data.n, db.data.list.length], [n + 1, n], `${length} bytes, updated`)
      assert.equal(torn().length, isWhole ? 0 : 1, `${length} bytes: ${torn()}`)
      for (const name of torn()) unlinkSync(at(name))
      await Promise.all([reader.close(), db.close(), sync.close()])
      if (existsSync(journal())) unlinkSync(journal())
    }
  })

  it('and filled up with zeros, or damaged in the middle, has what is before that', async () => {
    const { whole, ends } = await written()
    copyFileSync(path(), at('base'))
    const [, second = 0, third = 0] = ends
    const damaged = Buffer.from(whole)
    damaged[second + 20] = (damaged[second + 20] as number) ^ 1
    for (const [what, bytes, n] of [
      ['zeros behind it', Buffer.concat([whole, Buffer.alloc(700)]), 4],
      ['zeros for the last unit', Buffer.concat([whole.subarray(0, third), Buffer.alloc(100)]), 3],
      ['zeros for all of it', Buffer.alloc(700), 1],
      ['another bit', damaged, 2],
    ] as const) {
      begin(bytes)
      const db = open()
      await db.update((data) => void data.list.push('more'))
      assert.equal(db.data.n, n, what)
      const [kept = ''] = torn()
      assert.ok(bytes.includes(readFileSync(at(kept))), what)
      unlinkSync(at(kept))
      await db.close()
      assert.equal(JSON.parse(readFileSync(path(), 'utf8')).n, n)
    }
  })
})
