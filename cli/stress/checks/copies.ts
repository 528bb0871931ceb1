import { existsSync, readFileSync, rmSync } from 'node:fs'
import { nedbFormat } from '../../../adapters/nedb/inspect.ts'
import { OF_A_CRASH } from '../../../src/features/backup/format.ts'
import { bytesSource } from '../../../src/store/snapshot.ts'
import { readContent } from '../contents/read.ts'
import { type Finding, Findings } from '../findings.ts'
import { type History, isInDoubt } from '../history.ts'
import type { Entry } from '../ledger.ts'
import type { Operation } from '../operation.ts'
import type { StressOptions } from '../options.ts'
import { openSubject } from '../stores/open.ts'
import { checkContent } from './check.ts'

/** How many copies of the file were looked at, all of them with the vanilla library. */
export interface CopiesSeen {
  readonly dumps: number
  readonly copies: number
  /** Copies at whose end a kill had left an unfinished write, which pslock had to mend first as it does in the file. */
  readonly mended: number
}

/**
 * Every dump, and every copy made under the shared lock, opened with the vanilla library: what was acknowledged before it
 * was begun is in it, what began after it had ended is not, and what happened meanwhile is there entirely or not at all.
 */
export async function checkCopies(
  histories: readonly History[],
  options: StressOptions,
  findings: Findings,
): Promise<CopiesSeen> {
  const seen = { dumps: 0, copies: 0, mended: 0 }
  for (const { worker, entries } of histories) {
    for (const entry of entries) {
      const { operation, index, start, answer, end = Number.POSITIVE_INFINITY } = entry
      if (operation.kind !== 'dump' && operation.kind !== 'copy') continue
      const add = (finding: Finding) =>
        findings.add({
          ...finding,
          worker,
          operation: { index, ...operation },
          message: `the ${operation.kind}: ${finding.message}`,
        })
      if (!existsSync(operation.to)) {
        if (answer?.said === 'done') add({ kind: 'lost', message: 'acknowledged, and there is no such file' })
        continue
      }
      if (operation.kind === 'copy' && (await isOfAKill(operation.to, options))) {
        seen.mended++
        const refusal = await mend(operation.to, options)
        if (refusal !== undefined) add({ kind: 'errors', message: `pslock cannot mend it: ${refusal}` })
      }
      const content = await readContent(options.store, operation.to)
      const own = new Findings()
      // A compaction sorts the file anew.
      checkContent(asOf(histories, start, end), { ...content, trail: undefined }, own)
      for (const finding of own.first) add(finding)
      if (operation.kind === 'dump') seen.dumps++
      else seen.copies++
      for (const name of [operation.to, `${operation.to}.copy`])
        if (!options.keep) rmSync(name, { force: true })
    }
  }
  return seen
}

/**
 * What a copy made between these two moments must have and may have: what was answered in between or later may be in it
 * or not, unless the answer says that nothing was done.
 */
function asOf(histories: readonly History[], begin: number, end: number): History[] {
  return histories.map((history) => ({
    ...history,
    entries: history.entries.flatMap((entry): Entry[] => {
      const { index, operation, start, answer } = entry
      if (start >= end || operation.kind.startsWith('read')) return []
      if (isInDoubt(entry)) return [{ index, operation, start }]
      const wasDenied = answer?.said === 'taken' || answer?.said === 'stale'
      if ((entry.end as number) <= begin) return [entry]
      return wasDenied ? [] : [{ index, operation, start }]
    }),
  }))
}

/** After a kill inside a write the vanilla library is promised the file only once pslock has opened it again. */
async function isOfAKill(path: string, { store, chaos, kill }: StressOptions): Promise<boolean> {
  if (store === 'lowdb' || (chaos.killsPerSecond === 0 && kill === 0)) return false
  const { findings } = await nedbFormat.inspect(bytesSource(readFileSync(path)))
  return findings.some(({ what }) => OF_A_CRASH.has(what))
}

/**
 * Opens a file as any process of pslock would after a kill, which cuts off what was not finished.
 * @returns why that was refused
 */
export function mend(path: string, options: StressOptions): Promise<string | undefined> {
  return once(path, options, { kind: 'readCount' })
}

/** Makes a file of a store that is on a server. @returns why that was refused */
export function dumpTo(path: string, options: StressOptions): Promise<string | undefined> {
  return once(path, options, { kind: 'dump', to: path })
}

async function once(path: string, options: StressOptions, operation: Operation): Promise<string | undefined> {
  try {
    const subject = await openSubject(options.store, { ...options, path, worker: options.procs })
    await subject.perform(operation)
    await subject.close()
    return undefined
  } catch (error) {
    return (error as Error).message
  }
}
