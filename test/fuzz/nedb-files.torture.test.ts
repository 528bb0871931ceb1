import assert from 'node:assert/strict'
import { isUtf8 } from 'node:buffer'
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import fc from 'fast-check'
import { nedbFormat } from '../../adapters/nedb/inspect.ts'
import { LockedNedb } from '../../adapters/nedb.ts'
import { check, closedFile, repair } from '../../src/features/backup/backup.ts'
import { CorruptStoreError, PsLock } from '../../src/index.ts'
import { useFolder } from '../fixtures/folder.ts'
import { Vanilla, warnings } from '../fixtures/nedb-tools.ts'
import { note } from '../fixtures/random.ts'
import { type Doc, byId as inOrder } from '../properties/nedb/steps.ts'
import { holds } from '../properties/runs.ts'
import { type Mutation, mutated, mutation } from './mutations.ts'

/** Good files of all kinds that there are. */
async function goodFiles(at: (name: string) => string): Promise<Buffer[]> {
  const make = async (name: string, fill: (db: LockedNedb<Doc>) => Promise<unknown>) => {
    const db = new LockedNedb<Doc>({ filename: at(name), autoload: true })
    await fill(db)
    await db.close()
    return readFileSync(at(name))
  }
  const docs = (count: number, more = {}) =>
    Array.from({ length: count }, (_, n) => ({
      _id: `d${n}`,
      n,
      text: 'ä\u2028😀',
      at: new Date(n),
      ...more,
    }))
  return [
    await make('short', async (db) => {
      for (const doc of docs(12)) await db.insertAsync(doc)
    }),
    await make('batches', async (db) => {
      await db.insertAsync(docs(20))
      await db.updateAsync({}, { $inc: { n: 1 } }, { multi: true })
      await db.removeAsync({ n: { $lt: 5 } }, { multi: true })
    }),
    await make('large units', async (db) => {
      await db.insertAsync({ _id: 'first' })
      await db.insertAsync(docs(8, { long: 'l'.repeat(700) }))
      await db.insertAsync({ _id: 'big', long: 'b'.repeat(5000) })
      await db.insertAsync({ _id: 'last' })
    }),
    await make('indexes', async (db) => {
      await db.ensureIndexAsync({ fieldName: 'n', unique: true })
      await db.insertAsync(docs(15))
      await db.ensureIndexAsync({ fieldName: 'text', sparse: true })
      await db.removeIndexAsync('text')
      await db.compactDatafileAsync()
      await db.insertAsync({ _id: 'after' })
    }),
    Buffer.from(
      docs(15)
        .map((doc) => `${JSON.stringify({ ...doc, at: { $$date: doc.n } })}\n`)
        .join(''),
    ),
  ]
}

/** Where pslock is deliberately not as vanilla, by what is in the bytes: see docs/decisions/log-units.md. */
function differences(bytes: Buffer): string[] {
  const text = bytes.toString()
  const lines = text.split('\n')
  const found: string[] = []
  const records = lines.flatMap((line) => {
    try {
      return [JSON.parse(line) as unknown]
    } catch {
      return []
    }
  })
  const ids = records.map((record) => (record as Doc | null)?._id)
  // Ids that vanilla keeps by their text.
  if (ids.some((id) => id !== undefined && typeof id !== 'string')) found.push('ids that are no strings')
  // Neither a document nor another line to vanilla: it drops it without counting.
  if (ids.includes('')) found.push('the empty id')
  if (ids.includes('__proto__')) found.push('the id __proto__')
  // Vanilla ends a line at each of these too, inside of texts as well.
  if (/[\v\f\u0085\u2028\u2029]|\r(?!\n)/.test(text)) found.push('other line breaks')
  // Vanilla makes U+FFFD of them.
  if (text.includes('\ufffd')) found.push('no UTF-8')
  // Lines that are none of NeDB's: vanilla drops them without counting.
  if (records.some((record) => typeof record !== 'object' || record === null || Array.isArray(record)))
    found.push('foreign lines')
  if (records.some((record) => isForeign(record))) found.push('foreign lines')
  // One such document and vanilla refuses the file; here it is an unreadable line like others.
  if (records.some((record) => Boolean((record as Doc | null)?._id) && hasRefusedName(record)))
    found.push('refused names')
  if (records.some((record) => isIndexOfNoField(record))) found.push('indexes of no field')
  if (records.some((record) => hasOddDate(record))) found.push('dates that are none, or not alone')
  // A marker that lost the name of its field is a document to vanilla.
  if (records.some((record) => isNamelessMarker(record as Doc | null))) found.push('markers without a name')
  // Its length and checksum are those of another text: the marker is an unreadable line.
  if (/\$\$unit.*\r/.test(text)) found.push('a large unit with CRLF')
  // What follows the first of them is not trusted, and cut off.
  if (text.includes('\0')) found.push('NUL')
  return found
}

function hasRefusedName(value: unknown): boolean {
  if (typeof value !== 'object' || value === null) return false
  return Object.entries(value).some(
    ([name, inner]) => name.includes('.') || /^\$(?!\$date$|\$deleted$)/.test(name) || hasRefusedName(inner),
  )
}

function isIndexOfNoField(record: unknown): boolean {
  const fieldName = (record as { $$indexCreated?: { fieldName?: unknown } } | null)?.$$indexCreated?.fieldName
  return fieldName != null && typeof fieldName !== 'string'
}

function hasOddDate(value: unknown): boolean {
  if (typeof value !== 'object' || value === null) return false
  if (!('$$date' in value)) return Object.values(value).some(hasOddDate)
  return Object.keys(value).length > 1 || typeof value.$$date !== 'number'
}

function isNamelessMarker(record: Doc | null): boolean {
  return record?._id === '$$pslock' && !('$$unit' in record) && record.$$deleted !== true
}

function isForeign(record: unknown): boolean {
  return (
    typeof record === 'object' &&
    record !== null &&
    (record as Doc)._id === undefined &&
    !Object.keys(record).some((key) => key.startsWith('$$'))
  )
}

/** NeDB makes a field `__proto__` the prototype of its copies, of which no two are equal: without. */
function byId(docs: Doc[]): Doc[] {
  return structuredClone(inOrder(docs))
}

async function vanillaDocs(path: string, bytes: Buffer): Promise<Doc[] | undefined> {
  writeFileSync(path, bytes)
  const db = new Vanilla({ filename: path })
  try {
    await db.loadDatabaseAsync()
    return byId(await db.findAsync({}))
  } catch {
    return undefined
  }
}

describe('mutated files of a NeDB store', () => {
  const at = useFolder()
  warnings()

  it('are loaded as the vanilla library would, or refused as corrupt, and never rewritten', async function () {
    this.timeout(30 * 60_000)
    mkdirSync(at('good'))
    const files = await goodFiles((name) => at(`good/${name}`))
    const seen = { loaded: 0, refused: 0, mended: 0, compared: 0 }
    let cases = 0
    const bytesOf = ([file, changes]: readonly [number, readonly Mutation[]]) =>
      changes.reduce(mutated, files[file] as Buffer)
    await holds(
      fc.tuple(
        fc.integer({ min: 0, max: files.length - 1 }),
        fc.array(mutation, { minLength: 1, maxLength: 4 }),
      ),
      async (example) => {
        const folder = at(`case-${++cases}`)
        mkdirSync(folder)
        await requireSound(folder, bytesOf(example), seen)
        rmSync(folder, { recursive: true })
      },
      {
        name: 'NeDB, mutated files',
        runs: 150,
        script: (example) =>
          [
            "import { writeFileSync } from 'node:fs'",
            "import { LockedNedb } from 'pslock/nedb'",
            `// ${JSON.stringify(example[1])}`,
            `writeFileSync('case.db', Buffer.from('${bytesOf(example).toString('base64')}', 'base64'))`,
            "const db = new LockedNedb({ filename: 'case.db' })",
            'await db.loadDatabaseAsync()',
            'console.log(await db.findAsync({}))',
          ].join('\n'),
      },
    )
    note(JSON.stringify(seen))
    assert.ok(
      process.env.PSLOCK_PATH !== undefined || Math.min(...Object.values(seen)) > 0,
      'all of it must occur',
    )
  })

  async function requireSound(folder: string, bytes: Buffer, seen: Record<string, number>): Promise<void> {
    const filename = `${folder}/a.db`
    writeFileSync(filename, bytes)
    const lock = new PsLock(filename)
    const file = closedFile(filename, lock, 5000, nedbFormat)
    const findings = await check(file)
    assert.deepEqual(readFileSync(filename), bytes, 'check() has changed the file')

    const db = new LockedNedb<Doc>({ filename, autoload: true, onload: () => {} })
    const loading = (db as unknown as { autoloadPromise: Promise<void> }).autoloadPromise
    const refusal = await loading.then(
      () => undefined,
      (error: unknown) => error,
    )
    const vanilla = await vanillaDocs(`${folder}/vanilla.db`, bytes)
    rmSync(`${folder}/vanilla.db`, { force: true })
    rmSync(`${folder}/vanilla.db~`, { force: true })
    const known = differences(bytes)
    if (refusal) {
      seen.refused!++
      assert.ok(refusal instanceof CorruptStoreError, String(refusal))
      const { line, byte } = refusal
      const named = bytes.toString('latin1', 0, byte ?? 0).split('\n').length
      if (!/unique index/.test(refusal.message)) assert.equal(line, named, 'the line is not that of the byte')
      assert.deepEqual(readFileSync(filename), bytes, 'a refused file was changed')
      assert.deepEqual(
        readdirSync(folder).sort(),
        ['a.db', 'a.db.lock'],
        'a refused file left something behind',
      )
      assert.ok(findings.length > 0, 'check() finds nothing in a file that is refused')
      // A torn unit is not counted, neither as bad lines nor as good ones.
      const isTorn = findings.some(({ what }) => what === 'torn-tail' || what === 'unclosed-unit')
      if (vanilla && known.length === 0 && !isTorn)
        assert.fail(`refused, but vanilla loads it: ${refusal.message}`)
      await db.close()
    } else {
      // To load takes no lock: a torn tail is cut off by the first operation that may write.
      await db.updateAsync({ _id: 'none of them' }, { $set: { n: 0 } })
      const after = readFileSync(filename)
      const docs = byId(await db.findAsync({}))
      const torn = `${filename}.torn-1`
      if (existsSync(torn)) {
        seen.mended!++
        // A whole record in front of zeros gets the line feed that it lacks.
        const isEnded = bytes[after.length - 1] === 0
        const kept = isEnded ? after.subarray(0, -1) : after
        assert.deepEqual(
          Buffer.concat([kept, readFileSync(torn)]),
          bytes,
          'more than the torn tail was cut off',
        )
        assert.ok(findings.length > 0, 'check() finds no torn tail')
      } else if (!after.equals(bytes)) {
        assert.deepEqual(after, Buffer.concat([bytes, Buffer.from('\n')]), 'it was rewritten')
      }
      seen.loaded!++
      // What was cut off is gone for vanilla too.
      const left = existsSync(torn) ? await vanillaDocs(`${folder}/vanilla.db`, after) : vanilla
      if (known.length === 0) {
        seen.compared!++
        assert.ok(left, 'it was loaded, but vanilla refuses it')
        assert.deepEqual(docs, left, 'loaded (actual), and by vanilla (expected)')
      }
      await requireKeptAside(db, filename, after, docs)
    }
    await requireMended(file, filename)
    await lock.close()
  }

  /** A compaction leaves out what could not be read; all of that is kept beside the file. */
  async function requireKeptAside(db: LockedNedb<Doc>, filename: string, before: Buffer, docs: Doc[]) {
    await db.compactDatafileAsync()
    await db.close()
    const again = new LockedNedb<Doc>({ filename, autoload: true, corruptAlertThreshold: 0 })
    assert.deepEqual(byId(await again.findAsync({})), docs, 'after a compaction something else is read')
    await again.close()
    const aside = ['corrupt', 'torn']
      .map((kind) => `${filename}.${kind}-1`)
      .filter((name) => existsSync(name))
      .map((name) => readFileSync(name, 'latin1'))
      .join('\n')
    for (const line of before.toString('latin1').split('\n')) {
      if (line.trim() === '' || isReadable(Buffer.from(line, 'latin1'))) continue
      assert.ok(
        aside.includes(line),
        `the unreadable line ${JSON.stringify(line)} was erased by a compaction`,
      )
    }
  }

  /** Whether nothing of a line is left out: NeDB's own reader ends it at some other characters, too. */
  function isReadable(line: Buffer): boolean {
    if (!isUtf8(line)) return false
    const text = line.toString()
    const parts = text.split(/[\v\f\r\u0085\u2028\u2029]/)
    return isJson(text) || parts.every((part) => part.trim() === '' || isJson(part))
  }

  function isJson(line: string): boolean {
    try {
      JSON.parse(line)
      return true
    } catch {
      return false
    }
  }

  /** What is repaired is whole; what cannot be is left as it is. */
  async function requireMended(file: ReturnType<typeof closedFile>, filename: string): Promise<void> {
    const before = readFileSync(filename)
    try {
      await repair(file)
    } catch (error) {
      assert.ok(error instanceof CorruptStoreError, String(error))
      assert.deepEqual(readFileSync(filename), before, 'a failed repair has changed the file')
      return
    }
    assert.deepEqual(
      (await check(file)).filter(({ what }) => what !== 'kept-aside'),
      [],
      'repaired, and not whole',
    )
    const db = new LockedNedb({ filename, corruptAlertThreshold: 0 })
    await db.loadDatabaseAsync()
    await db.close()
  }
})
