import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import fc from 'fast-check'
import { LockedNedb } from '../../../adapters/nedb.ts'
import { useFolder } from '../../fixtures/folder.ts'
import type { StepCommands } from '../../fixtures/step-worker.ts'
import { useSamePeers } from '../../harness/peer.ts'
import { holds, source } from '../runs.ts'
import { vanillaState } from './sequence.ts'
import { byId, type Doc } from './steps.ts'

const text = fc.oneof(
  fc.string({ unit: 'binary', maxLength: 8 }),
  fc.constantFrom(
    '',
    '\u2028',
    '\u2029',
    '\u0085',
    '\ud800',
    '\udc00x',
    '\0',
    '\r\n',
    '\v\f',
    '1',
    'ä😀',
    '$$date',
    '\ufeff',
  ),
)
const oddKey = fc.constantFrom(
  'constructor',
  'toString',
  'length',
  'getTime',
  'toJSON',
  '',
  '\u2028',
  '0',
  'hasOwnProperty',
  '_id',
)
const refusedKey = fc.constantFrom(
  '__proto__',
  '$set',
  '$$deleted',
  '$$date',
  '$$indexCreated',
  '$$indexRemoved',
  'a.b',
  '.',
)
const key = fc.oneof(
  { weight: 20, arbitrary: text.filter((name) => !/^\$|\./.test(name)) },
  { weight: 6, arbitrary: oddKey },
  { weight: 1, arbitrary: refusedKey },
)
const leaf = fc.oneof(
  text,
  fc.double(),
  fc.integer(),
  fc.constantFrom(Number.NaN, -0, Number.POSITIVE_INFINITY, null, true, undefined),
  fc.date({ noInvalidDate: false }),
)
const huge = fc.integer({ min: 4000, max: 100_000 }).map((length) => 'h'.repeat(length))

/** Own members of these names, also `__proto__`. */
function objectOf(entries: readonly (readonly [string, unknown])[]): Doc {
  return Object.fromEntries(entries) as Doc
}

const { object } = fc.letrec<{ value: unknown; object: Doc }>((tie) => ({
  value: fc.oneof(
    { depthSize: 'small', withCrossShrink: true },
    leaf,
    fc.array(tie('value'), { maxLength: 4 }),
    fc.sparseArray(tie('value'), { maxLength: 4 }),
    tie('object'),
  ),
  object: fc.array(fc.tuple(key, tie('value')), { maxLength: 4 }).map(objectOf),
}))
const id = fc.oneof(
  { weight: 4, arbitrary: text },
  { weight: 4, arbitrary: fc.constantFrom<unknown>('a', 'b', 'c', 'constructor', 'toString') },
  { weight: 3, arbitrary: fc.constantFrom<unknown>(1, '1', -1, 1e21, '1e+21', 0.5, 0, '0', -0) },
  {
    weight: 1,
    arbitrary: fc.constantFrom<unknown>(
      '',
      '__proto__',
      '$$pslock',
      Number.NaN,
      null,
      true,
      {},
      [],
      new Date(1),
    ),
  },
)
const doc: fc.Arbitrary<Doc> = fc
  .tuple(object, id, fc.option(huge, { freq: 20, nil: undefined }))
  .map(([fields, _id, long]) =>
    Object.assign(objectOf(Object.entries(fields)), { _id }, long ? { long } : {}),
  )

const WAYS = ['insert', 'batch', 'upsert', 'set'] as const
interface Put {
  readonly way: (typeof WAYS)[number]
  readonly doc: Doc
}
const put: fc.Arbitrary<Put> = fc.record({ way: fc.constantFrom(...WAYS), doc })

/** The document as a file keeps it, or undefined where some name or the id cannot be kept. */
function asStored(doc: Doc): Doc | undefined {
  const { _id } = doc
  const isId = (typeof _id === 'string' && _id !== '') || (typeof _id === 'number' && Number.isFinite(_id))
  if (!isId || _id === '__proto__' || _id === '$$pslock') return undefined
  return storedObject(doc)
}

function storedObject(object: object): Doc | undefined {
  const stored: Doc = {}
  for (const [name, inner] of Object.entries(object)) {
    if (name.startsWith('$') || name.includes('.') || name === '__proto__') return undefined
    const value = stored1(inner)
    if (value === REFUSED) return undefined
    if (inner !== undefined) stored[name] = value
  }
  return stored
}

const REFUSED = Symbol('refused')

function stored1(value: unknown): unknown {
  if (value === undefined || value === null) return null
  if (typeof value === 'number') return Number.isFinite(value) ? value + 0 : null
  if (value instanceof Date) return Number.isNaN(value.getTime()) ? null : value
  if (Array.isArray(value)) {
    const list = Array.from(value, stored1)
    return list.includes(REFUSED) ? REFUSED : list
  }
  return typeof value === 'object' ? (storedObject(value) ?? REFUSED) : value
}

/** Whether the id is that of a document already, or one that NeDB takes for the same. */
function clashes(docs: ReadonlyMap<unknown, Doc>, id: unknown, way: Put['way']): boolean {
  if (way !== 'upsert' && docs.has(id)) return true
  if (way === 'batch' && id === 'first') return true
  return [...docs.keys()].some(
    (other) => other !== id && typeof other !== typeof id && String(other) === String(id),
  )
}

function script(puts: readonly Put[]): string {
  return [
    "import { LockedNedb } from 'pslock/nedb'",
    "const open = () => new LockedNedb({ filename: 'case.db', autoload: true })",
    'const db = open()',
    "await db.insertAsync({ _id: 'host' })",
    ...puts.map(({ way, doc }) => `await ${callText(way, source(doc))}.catch(console.log)`),
    'console.log(await db.findAsync({}), await open().findAsync({}))',
  ].join('\n')
}

function callText(way: Put['way'], doc: string): string {
  if (way === 'insert') return `db.insertAsync(${doc})`
  if (way === 'batch') return `db.insertAsync([{ _id: 'first' }, ${doc}])`
  if (way === 'upsert') return `db.updateAsync({ _id: ${doc}._id }, ${doc}, { upsert: true })`
  return `db.updateAsync({ _id: 'host' }, { $set: { held: ${doc} } }, {})`
}

describe('random documents in a NeDB store', () => {
  const at = useFolder()
  // Dates, undefined, -0 and holes get through.
  const processes = useSamePeers<StepCommands>('step-worker', 1, { serialization: 'advanced' })

  it('come back the same here, elsewhere and in the vanilla library, or are refused and change nothing', async function () {
    this.timeout(30 * 60_000)
    let cases = 0
    await holds(
      fc.array(put, { minLength: 1, maxLength: 8 }),
      async (puts) => {
        const filename = at(`${++cases}.db`)
        const db = new LockedNedb<Doc>({ filename, autoload: true })
        await db.insertAsync({ _id: 'host' })
        const expected = new Map<unknown, Doc>([['host', { _id: 'host' }]])
        for (const { way, doc } of puts) {
          const before = readFileSync(filename, 'latin1')
          const given = structuredClone(doc)
          const accepted = await tried(db, way, given)
          // It is the caller's own.
          Object.assign(given, { later: 1 })
          const shown = callText(way, source(doc))
          const kept = way === 'set' ? storedObject(doc) : asStored(doc)
          const isTaken =
            (way === 'batch' && expected.has('first')) || (way !== 'set' && clashes(expected, doc._id, way))
          assert.equal(accepted, kept !== undefined && !isTaken, `whether ${shown} is accepted`)
          if (!accepted) {
            assert.equal(
              readFileSync(filename, 'latin1'),
              before,
              `${shown} was refused, but changed the file`,
            )
          } else if (way === 'set') {
            expected.set('host', { _id: 'host', held: kept })
          } else {
            if (way === 'batch') expected.set('first', { _id: 'first' })
            expected.set(kept!._id, kept!)
          }
          const wanted = byId([...expected.values()])
          assert.deepEqual(byId(await db.findAsync({})), wanted, `in memory after ${shown}`)
        }
        const [other] = processes
        await other!.call('openNedb', filename)
        assert.deepEqual(
          await other!.call('nedb', ['find', {}]),
          { ok: byId([...expected.values()]) },
          'in another process',
        )
        await other!.call('closeNedb')
        await db.close()
        // The number 0 is kept, but vanilla skips it.
        expected.delete(0)
        assert.deepEqual(
          (await vanillaState(filename)).docs,
          byId([...expected.values()]),
          'in the vanilla library',
        )
      },
      { name: 'NeDB, random documents', runs: 80, script },
    )
  })

  async function tried(db: LockedNedb<Doc>, way: Put['way'], doc: Doc): Promise<boolean> {
    try {
      if (way === 'insert') await db.insertAsync(doc)
      else if (way === 'batch') await db.insertAsync([{ _id: 'first' }, doc] as never)
      else if (way === 'upsert') await db.updateAsync({ _id: doc._id }, doc, { upsert: true })
      else await db.updateAsync({ _id: 'host' }, { $set: { held: doc } }, {})
      return true
    } catch (error) {
      assert.ok(error instanceof Error && !(error instanceof RangeError), String(error))
      return false
    }
  }
})
