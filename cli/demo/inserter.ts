import { existsSync, mkdtempSync, renameSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { setTimeout as pause, setImmediate as turn } from 'node:timers/promises'
import type { Knobs } from './knobs.ts'
import { OwnTally, shortened, type Tally, talliesOf } from './tally.ts'
import { countRecords, openRecords, type Records, type RecordsOptions } from './ways.ts'

export type InserterOptions = RecordsOptions &
  Pick<Knobs, 'num' | 'delayMs'> & {
    /** Whether it compacts the file once, when half of its records are in: such a file only grows. */
    readonly compacts: boolean
  }

/** What a process of the demo is started for, as JSON in its only argument. */
export type Role =
  | { readonly role: 'inserter'; readonly file: string; readonly options: InserterOptions }
  | { readonly role: 'site'; readonly file: string; readonly options: RecordsOptions }
  | { readonly role: 'counter'; readonly file: string; readonly options: Pick<Knobs, 'way'> }
  | { readonly role: 'watchdog' }

/** To the parent. */
export type Told =
  | { readonly ready: true }
  | { readonly folder: string }
  | { readonly found: number }
  | { readonly request: number; readonly ms: number; readonly error?: string | undefined }
  | { readonly failed: string }

/** From the parent: begin; insert one record; leave. */
export type Asked = { readonly go: true } | { readonly request: number } | { readonly leave: true }

/** Between two looks at what else there is to do, where the store leaves no room for it. */
const TURN_EVERY = 64

/**
 * Inserts `num` records, or as many as it can before the folder is gone.
 * @param begin is awaited once the store is open
 */
export async function insertAll(
  file: string,
  options: InserterOptions,
  begin: () => Promise<unknown> = async () => {},
): Promise<Tally> {
  const { num, delayMs, compacts } = options
  const tally = new OwnTally(talliesOf(file), num)
  const records = await openRecords(file, options)
  tally.become('ready')
  await begin()
  for (let number = 0; number < num; number++) {
    if (!existsSync(dirname(file))) {
      tally.become('waiting', { error: 'the folder is gone' })
      break
    }
    await insertOne(records, tally, number)
    if (compacts && number === Math.floor(num / 2)) {
      await records.compact().then(
        () => tally.become('waiting', { compacted: true }),
        (error) => tally.become('waiting', { error: shortened(error) }),
      )
    }
    if (delayMs > 0) {
      tally.become('pausing')
      await pause(delayMs)
    } else if (number % TURN_EVERY === 0) await turn()
  }
  await records.close()
  tally.become('ended')
  tally.close()
  return tally.now
}

/** @returns what went wrong */
async function insertOne(records: Records, tally: OwnTally, number: number): Promise<unknown> {
  tally.become('waiting')
  const start = performance.now()
  let waitedMs: number | undefined
  try {
    await records.insert({ process: process.pid, number }, () => {
      waitedMs = performance.now() - start
      tally.become('holding')
    })
    tally.inserted(waitedMs ?? performance.now() - start)
    return undefined
  } catch (error) {
    tally.inserted(performance.now() - start, error)
    return error
  }
}

/** The web site: one record for each request. */
async function site(file: string, options: RecordsOptions): Promise<void> {
  const tally = new OwnTally(talliesOf(file))
  const records = await openRecords(file, options)
  tally.become('ready')
  let last: Promise<void> = Promise.resolve()
  process.on('message', (asked: Asked) => {
    if ('leave' in asked) {
      last = last.then(async () => {
        await records.close()
        tally.become('ended')
        process.disconnect()
      })
    }
    if (!('request' in asked)) return
    const start = performance.now()
    last = last.then(async () => {
      const error = await insertOne(records, tally, asked.request)
      tally.become('ready')
      const ms = performance.now() - start
      tell({ request: asked.request, ms, error: error === undefined ? undefined : shortened(error) })
    })
  })
  tell({ ready: true })
}

/**
 * Makes the folder of the demo, and ends what the server leaves behind, however that ends: a process that is stopped
 * cannot do so by itself.
 */
function watchdog(): void {
  const pids = new Set<number>()
  process.on('message', ({ pid, ended }: { pid: number; ended: boolean }) => {
    if (ended) pids.delete(pid)
    else pids.add(pid)
  })
  const folder = mkdtempSync(join(tmpdir(), 'pslock-demo-'))
  onceAlone(() => {
    for (const pid of pids) {
      try {
        process.kill(pid, 'SIGKILL')
      } catch {
        // It has ended by itself.
      }
    }
    // Whoever still inserts would make a file anew while its folder is being removed.
    const gone = `${folder}-`
    if (existsSync(folder)) renameSync(folder, gone)
    rmSync(gone, { recursive: true, force: true, maxRetries: 5 })
  })
  tell({ folder })
}

/** Once the server has gone, which it may have done before this process could notice. */
function onceAlone(end: () => void): void {
  if (process.connected) process.once('disconnect', end)
  else end()
}

function tell(told: Told): void {
  // Without the callback a server that has just gone would be an error that ends the process.
  process.send?.(told, () => {})
}

async function perform(role: Role): Promise<void> {
  if (role.role === 'watchdog') return watchdog()
  // Ctrl-C goes to the whole group; it is the server that ends them, and without it they end themselves.
  process.on('SIGINT', () => {})
  onceAlone(() => process.exit())
  const { file } = role
  if (role.role === 'counter') tell({ found: await countRecords(file, role.options.way) })
  else if (role.role === 'site') return site(file, role.options)
  else {
    const begun = new Promise((resolve) => process.once('message', resolve))
    await insertAll(file, role.options, () => {
      tell({ ready: true })
      return begun
    })
  }
  process.disconnect()
}

// Imported, it is for `pslock demo --insert`.
if (process.send !== undefined && process.argv[2]?.startsWith('{"role":')) {
  perform(JSON.parse(process.argv[2])).catch((error) => {
    tell({ failed: shortened(error) })
    process.exitCode = 1
    process.disconnect()
  })
}
