import type { Content } from '../contents/content.ts'
import type { Findings } from '../findings.ts'
import { type History, isAcknowledged, isInDoubt } from '../history.ts'
import type { Entry } from '../ledger.ts'

interface Use {
  readonly worker: number
  readonly entry: Entry
}

/** The shared counters: no increment may be missing in the file. */
export function checkTotals(histories: readonly History[], content: Content, findings: Findings): void {
  const uses = usesOf(histories)
  for (const [counter, list] of uses) {
    const increments = list.filter(({ entry }) => entry.operation.kind === 'increment')
    const done = increments.filter(({ entry }) => isAcknowledged(entry))
    const doubtful = increments.filter(({ entry }) => isInDoubt(entry))
    checkTotal(counter, done.length, doubtful.length, content.counters.get(counter) ?? 0, findings)
  }
  for (const counter of content.counters.keys()) {
    if (!uses.has(counter)) {
      findings.add({ kind: 'unexpected', record: counter, message: `nobody counted ${counter}` })
    }
  }
}

/** Every value that was seen fits what had been done by then. */
export function checkSeen(histories: readonly History[], findings: Findings): void {
  for (const list of usesOf(histories).values()) {
    const increments = list.filter(({ entry }) => entry.operation.kind === 'increment')
    const done = increments.filter(({ entry }) => isAcknowledged(entry))
    const doubtful = increments.filter(({ entry }) => isInDoubt(entry))
    checkValues(list, done, doubtful, findings)
  }
}

function usesOf(histories: readonly History[]): Map<string, Use[]> {
  const uses = new Map<string, Use[]>()
  for (const { worker, entries } of histories) {
    for (const entry of entries) {
      if (!('counter' in entry.operation)) continue
      const { counter } = entry.operation
      const list = uses.get(counter) ?? []
      list.push({ worker, entry })
      uses.set(counter, list)
    }
  }
  return uses
}

function checkTotal(
  counter: string,
  done: number,
  doubtful: number,
  value: number,
  findings: Findings,
): void {
  const message = `${counter} is ${value} after ${done} acknowledged increments`
  if (!(value >= done)) findings.add({ kind: 'lost', record: counter, message }, done - (value || 0))
  const most = done + doubtful
  if (value > most) findings.add({ kind: 'unexpected', record: counter, message }, value - most)
}

/** Values seen: at least what was acknowledged before the operation began, at most what had begun when it ended. */
function checkValues(
  uses: readonly Use[],
  done: readonly Use[],
  doubtful: readonly Use[],
  findings: Findings,
): void {
  const ends = done.map(({ entry }) => entry.end as number).sort(ascending)
  const starts = [...done, ...doubtful].map(({ entry }) => entry.start).sort(ascending)
  const given = new Map<number, Use>()
  for (const use of uses) {
    const { answer, operation, index, start, end } = use.entry
    if (answer?.said !== 'done' || answer.value === undefined || end === undefined) continue
    const { value } = answer
    const own = operation.kind === 'increment' ? 1 : 0
    const finding = { worker: use.worker, operation: { index, ...operation } }
    const least = below(ends, start) + own
    const most = below(starts, end)
    const other = own === 1 ? given.get(value) : undefined
    if (own === 1) given.set(value, use)
    if (value < least) {
      findings.add({
        kind: 'stale',
        ...finding,
        message: `saw ${value} where at least ${least} was acknowledged`,
      })
    } else if (value > most) {
      findings.add({
        kind: 'unexpected',
        ...finding,
        message: `saw ${value} where at most ${most} had begun`,
      })
    } else if (other) {
      findings.add({
        kind: 'stale',
        ...finding,
        message: `counted to ${value}, as worker ${other.worker} did`,
      })
    }
  }
}

/** How many of the ascending numbers are smaller than the limit. */
function below(numbers: readonly number[], limit: number): number {
  let low = 0
  let high = numbers.length
  while (low < high) {
    const middle = (low + high) >> 1
    if ((numbers[middle] as number) < limit) low = middle + 1
    else high = middle
  }
  return low
}

function ascending(a: number, b: number): number {
  return a - b
}
