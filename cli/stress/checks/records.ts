import type { Content } from '../contents/content.ts'
import type { Findings } from '../findings.ts'
import { type History, isAcknowledged, isInDoubt } from '../history.ts'
import type { Entry } from '../ledger.ts'
import { ABSENT, insertedNumbers } from '../operation.ts'
import { isWhole, parseRecordId, recordId } from '../record.ts'

/** The versions that a record of one worker may be in; `ABSENT` is one of them. Only that worker touches it. */
type Possible = Map<number, Set<number>>

/** Every worker's own records: what it read of them while it ran, and what is in the file now. */
export function checkRecords(histories: readonly History[], content: Content, findings: Findings): void {
  const found = new Map<string, unknown[]>()
  for (const { id, record } of content.records) {
    found.set(id, [...(found.get(id) ?? []), record])
    if (!parseRecordId(id))
      findings.add({ kind: 'unexpected', record: id, message: `nobody inserted "${id}"` })
  }
  for (const history of histories) {
    const possible: Possible = new Map()
    for (const entry of history.entries) follow(history.worker, entry, possible, findings)
    for (const [n, versions] of possible) {
      const id = recordId(history.worker, n)
      checkRecord(history.worker, id, versions, found.get(id) ?? [], findings)
      found.delete(id)
    }
    checkBatches(history, possible, content, findings)
  }
  for (const id of found.keys()) {
    const parsed = parseRecordId(id)
    if (!parsed) continue
    findings.add({ kind: 'unexpected', worker: parsed.worker, record: id, message: `nobody inserted ${id}` })
  }
}

/** Takes one entry of the ledger into account, and compares what it read. */
function follow(worker: number, entry: Entry, possible: Possible, findings: Findings): void {
  const { operation, index, answer } = entry
  const value = answer?.said === 'done' ? answer.value : undefined
  const stale = (record: string, message: string) =>
    findings.add({ kind: 'stale', worker, operation: { index, ...operation }, record, message })

  switch (operation.kind) {
    case 'insert':
    case 'insertMany':
      if (answer?.said === 'stale') return
      for (const n of insertedNumbers(operation)) {
        possible.set(n, new Set(isAcknowledged(entry) ? [0] : [0, ABSENT]))
      }
      return
    case 'update':
    case 'delete': {
      const next = operation.kind === 'update' ? operation.v : ABSENT
      const before = possible.get(operation.n) ?? new Set([ABSENT])
      if (isInDoubt(entry)) possible.set(operation.n, new Set([...before, next]))
      else if (isAcknowledged(entry)) {
        if (value === 0 && !before.has(ABSENT)) {
          stale(recordId(worker, operation.n), `${operation.kind} did not find the record`)
        }
        possible.set(operation.n, new Set([value === 0 ? ABSENT : next]))
      }
      return
    }
    case 'readRecord': {
      const before = possible.get(operation.n) ?? new Set([ABSENT])
      if (value === undefined || before.has(value)) return
      stale(recordId(worker, operation.n), `read ${version(value)} instead of ${versions(before)}`)
      return
    }
    case 'readCount': {
      const all = [...possible.values()]
      const least = all.filter((states) => !states.has(ABSENT)).length
      const most = all.filter((states) => states.size > 1 || !states.has(ABSENT)).length
      if (value === undefined || (value >= least && value <= most)) return
      stale(`records of w${worker}`, `counted ${value} own records instead of ${least}`)
    }
  }
}

function checkRecord(
  worker: number,
  id: string,
  possible: ReadonlySet<number>,
  found: readonly unknown[],
  findings: Findings,
): void {
  const add = (kind: 'lost' | 'duplicated' | 'torn' | 'unexpected', message: string) =>
    findings.add({ kind, worker, record: id, message: `${id}: ${message}` })

  if (found.length === 0) {
    if (!possible.has(ABSENT)) add('lost', `not in the file; acknowledged: ${versions(possible)}`)
    return
  }
  if (found.length > 1) add('duplicated', `${found.length} times in the file`)
  for (const record of found) {
    if (!isWhole(record, id)) {
      add('torn', 'length or checksum does not match its payload')
      continue
    }
    if (possible.has(record.v)) continue
    const newest = Math.max(...possible)
    if (newest === ABSENT) add('lost', 'deleted, and yet it is there')
    else if (record.v < newest) add('lost', `${version(record.v)} instead of ${versions(possible)}`)
    else add('unexpected', `${version(record.v)}, which nobody wrote`)
  }
}

/** A batch that nobody acknowledged is in the file entirely or not at all. */
function checkBatches(
  { worker, entries }: History,
  possible: Possible,
  content: Content,
  findings: Findings,
): void {
  const doubtful = entries.filter((entry) => entry.operation.kind === 'insertMany' && isInDoubt(entry))
  if (doubtful.length === 0) return
  // A deletion that nobody heard of either may have taken one out of a batch.
  const deleted = new Set(
    entries.flatMap(({ operation }) => (operation.kind === 'delete' ? operation.n : [])),
  )
  const ids = new Set(content.records.map(({ id }) => id))
  for (const { operation, index } of doubtful) {
    const numbers = insertedNumbers(operation).filter((n) => !deleted.has(n))
    if (!numbers.every((n) => possible.get(n)?.size === 2)) continue
    const present = numbers.filter((n) => ids.has(recordId(worker, n))).length
    if (present === 0 || present === numbers.length) continue
    findings.add({
      kind: 'torn',
      worker,
      operation: { index, ...operation },
      record: recordId(worker, numbers[0] as number),
      message: `${present} of the ${numbers.length} records of a batch are in the file`,
    })
  }
}

function version(v: number): string {
  return v === ABSENT ? 'no record' : `version ${v}`
}

function versions(possible: ReadonlySet<number>): string {
  return [...possible].map(version).join(' or ')
}
