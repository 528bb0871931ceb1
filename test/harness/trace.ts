/**
 * What a steady operation calls: `npm run trace` lists the operations with their figures, `npm run trace -- <operation>`
 * prints the path of one, function by function. In a process of its own, for it counts every promise.
 */
import { createHook } from 'node:async_hooks'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { instrument, type SourceFunction } from './instrument.ts'

/** Of one operation, after some of the same kind, while nobody else has the lock or waits for it. */
export interface Figures {
  readonly calls: number
  readonly functions: number
  readonly files: number
  /** How often the next function is of another file. */
  readonly moves: number
  readonly promises: number
  /** How often JSON.stringify made a text as long as the whole file. */
  readonly wholeTexts: number
}

interface Entry extends SourceFunction {
  readonly depth: number
}

type Operation = () => PromiseLike<unknown>
type Subject = (path: string) => Promise<{ operation: Operation; close(): Promise<void> }>

/** Some ways are taken only in a process that has done a thing often (file-stat.ts). */
const WARM_UP = 500
/** Some of them do what is due only now and then (a time slice begins anew, say): the shortest path is the steady one. */
const MEASURED = 100
const LONG = 'text '.repeat(2000)
const { folder, functions } = instrument()
const load = (file: string) => import(pathToFileURL(join(folder, file)).href)

let entered: ((fn: SourceFunction) => void) | undefined
Object.assign(globalThis, { pslockEnter: (id: number) => entered?.(functions[id] as SourceFunction) })

async function nedb(
  call: (db: import('pslock/nedb').LockedNedb, turn: number) => PromiseLike<unknown>,
  path: string,
) {
  const { LockedNedb } = (await load('adapters/nedb.js')) as typeof import('pslock/nedb')
  const db = new LockedNedb({ filename: path, autoload: true })
  await db.insertAsync(Array.from({ length: 100 }, (_, n) => ({ _id: `record ${n}`, n })))
  let turn = 0
  return { operation: () => call(db, turn++), close: () => db.close() }
}

async function low(journal: boolean, path: string) {
  const { LockedLow } = (await load('adapters/lowdb.js')) as typeof import('pslock/lowdb')
  const db = new LockedLow(path, { n: 0, long: LONG }, { journal })
  return {
    operation: () =>
      db.update((data) => {
        data.n++
      }),
    close: () => db.close(),
  }
}

const SUBJECTS: Readonly<Record<string, Subject>> = {
  async exclusive(path) {
    const { PsLock } = (await load('src/index.js')) as typeof import('pslock')
    const lock = new PsLock(path)
    return { operation: () => lock.exclusive(() => {}), close: () => lock.close() }
  },
  insertAsync: (path) => nedb((db, turn) => db.insertAsync({ turn }), path),
  updateAsync: (path) => nedb((db) => db.updateAsync({ _id: 'record 1' }, { $inc: { n: 1 } }), path),
  findOneAsync: (path) => nedb((db) => db.findOneAsync({ _id: 'record 1' }), path),
  'LockedLow.update': (path) => low(false, path),
  'LockedLow.update, journal': (path) => low(true, path),
}

/** The promises that are made meanwhile. */
async function promisesOf(operation: Operation): Promise<number> {
  let count = 0
  const hook = createHook({
    init: (_id, type) => {
      if (type === 'PROMISE') count++
    },
  })
  hook.enable()
  await operation()
  hook.disable()
  return count
}

async function wholeTextsOf(operation: Operation): Promise<number> {
  const { stringify } = JSON
  const lengths: number[] = []
  JSON.stringify = (...given: [unknown]) => {
    const text = stringify(...given)
    lengths.push(text?.length ?? 0)
    return text
  }
  try {
    await operation()
  } finally {
    JSON.stringify = stringify
  }
  return lengths.filter((length) => length > LONG.length).length
}

/** How many functions of the package stand on the stack, those that await it too. */
function depthHere(): number {
  return new Error().stack?.split('\n').filter((line) => line.includes(folder)).length ?? 0
}

/** @param depth without it the operation is not slowed down by looking at the stack */
async function entriesOf(operation: Operation, depth = () => 0): Promise<Entry[]> {
  const entries: Entry[] = []
  const { stackTraceLimit } = Error
  Error.stackTraceLimit = 200
  entered = (fn) => entries.push({ ...fn, depth: depth() })
  try {
    await operation()
  } finally {
    entered = undefined
    Error.stackTraceLimit = stackTraceLimit
  }
  return entries
}

/** @returns the path of the operation, and what was counted on it */
async function trace(
  subject: Subject,
  depth?: () => number,
): Promise<{ entries: Entry[]; figures: Figures }> {
  const room = mkdtempSync(join(tmpdir(), 'pslock-trace-'))
  const { operation, close } = await subject(join(room, 'db'))
  try {
    for (let turn = 0; turn < WARM_UP; turn++) await operation()
    const least = async <T>(measure: (operation: Operation) => Promise<T>, size: (measured: T) => number) => {
      const all: T[] = []
      for (let turn = 0; turn < MEASURED; turn++) all.push(await measure(operation))
      return all.reduce((one, other) => (size(other) < size(one) ? other : one))
    }
    const entries = await least(
      () => entriesOf(operation, depth),
      ({ length }) => length,
    )
    return {
      entries,
      figures: {
        calls: entries.length,
        functions: new Set(entries.map(({ file, line, name }) => `${file}:${line} ${name}`)).size,
        files: new Set(entries.map(({ file }) => file)).size,
        moves: entries.filter(({ file }, at) => at > 0 && file !== entries[at - 1]?.file).length,
        promises: await least(promisesOf, Number),
        wholeTexts: await least(wholeTextsOf, Number),
      },
    }
  } finally {
    await close()
    rmSync(room, { recursive: true, force: true })
  }
}

function tour(entries: readonly Entry[]): string {
  const least = Math.min(...entries.map(({ depth }) => depth))
  return entries
    .map(({ file, line, name, depth }, at) => {
      const where = file === entries[at - 1]?.file ? '' : `  ${file}:${line}`
      return `${'  '.repeat(depth - least)}${name}${where}`
    })
    .join('\n')
}

async function main([name, ...more]: string[]): Promise<void> {
  if (name === undefined || name === '--json') {
    const all: Record<string, Figures> = {}
    for (const [each, subject] of Object.entries(SUBJECTS)) all[each] = (await trace(subject)).figures
    if (name === '--json') console.log(JSON.stringify(all))
    else console.table(all)
    return
  }
  const subject = SUBJECTS[name]
  if (subject === undefined || more.length > 0) {
    throw new Error(`one of: ${Object.keys(SUBJECTS).join(' | ')}`)
  }
  const { entries, figures } = await trace(subject, depthHere)
  console.log(tour(entries))
  console.table(figures)
}

try {
  await main(process.argv.slice(2))
} finally {
  rmSync(folder, { recursive: true, force: true })
}
