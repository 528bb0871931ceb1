import { type Content, trace } from '../contents/content.ts'
import type { Findings } from '../findings.ts'
import { type History, isAcknowledged } from '../history.ts'
import type { Entry } from '../ledger.ts'
import { claimId, insertedNumbers } from '../operation.ts'
import { recordId } from '../record.ts'

interface Writer {
  readonly worker: number
  readonly entry: Entry
}

/** The file's order agrees with real time: what had ended before another began is ahead of it. */
export function checkOrder(histories: readonly History[], { trail }: Content, findings: Findings): void {
  if (!trail) return
  const writers = new Map<string, Writer>()
  for (const { worker, entries } of histories) {
    for (const entry of entries) {
      if (isAcknowledged(entry))
        for (const left of tracesOf(worker, entry)) writers.set(left, { worker, entry })
    }
  }
  const seen = new Set<string>()
  let latest: Writer | undefined
  for (const left of trail) {
    const writer = writers.get(left)
    if (!writer) continue
    const { worker, entry } = writer
    const finding = { worker, operation: { index: entry.index, ...entry.operation }, record: left }
    if (seen.has(left) && !('counter' in entry.operation)) {
      findings.add({ kind: 'duplicated', worker, record: idOf(left), message: `written twice: ${left}` })
    } else if (latest && (entry.end as number) < latest.entry.start) {
      const message = `${left} stands behind operation ${latest.entry.index} of worker ${latest.worker}, which began later`
      findings.add({ kind: 'outOfOrder', ...finding, message })
    }
    seen.add(left)
    if (!latest || entry.start > latest.entry.start) latest = writer
  }
}

/** What an acknowledged operation leaves in the file. A bare increment does not know its value for certain. */
function tracesOf(worker: number, { operation, answer }: Entry): string[] {
  const value = answer?.said === 'done' ? answer.value : undefined
  switch (operation.kind) {
    case 'insert':
    case 'insertMany':
      return insertedNumbers(operation).map((n) => trace.version(recordId(worker, n), 0))
    case 'update':
      return value === 1 ? [trace.version(recordId(worker, operation.n), operation.v)] : []
    case 'delete':
      return value === 1 ? [trace.deletion(recordId(worker, operation.n))] : []
    case 'increment':
      return value === undefined ? [] : [trace.count(operation.counter, value)]
    case 'claim':
      return [trace.claim(claimId(worker, operation.key))]
    case 'writeRegister':
      return [trace.count(operation.register, operation.value)]
    case 'compareAndSet':
      return value === 1 ? [trace.count(operation.register, operation.to)] : []
    default:
      return []
  }
}

function idOf(left: string): string {
  return left.split(' ', 1)[0] as string
}
