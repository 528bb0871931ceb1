import type { Content } from '../contents/content.ts'
import type { Findings } from '../findings.ts'
import { type History, isAcknowledged, isInDoubt } from '../history.ts'
import { claimId } from '../operation.ts'

/** The contested keys: each belongs to one worker, the one that was told so. */
export function checkClaims(histories: readonly History[], content: Content, findings: Findings): void {
  const holders = new Map<string, string[]>()
  for (const { key, id } of content.claims) holders.set(key, [...(holders.get(key) ?? []), id])

  const winners = new Map<string, string[]>()
  const candidates = new Set<string>()
  const refused = new Map<string, number>()
  for (const { worker, entries } of histories) {
    for (const entry of entries) {
      if (entry.operation.kind !== 'claim') continue
      const { key } = entry.operation
      const id = claimId(worker, key)
      if (isAcknowledged(entry)) winners.set(key, [...(winners.get(key) ?? []), id])
      if (isAcknowledged(entry) || isInDoubt(entry)) candidates.add(id)
      if (entry.answer?.said === 'taken') refused.set(key, (refused.get(key) ?? 0) + 1)
    }
  }

  for (const [key, ids] of winners) {
    const held = holders.get(key) ?? []
    if (ids.length > 1) {
      const message = `the unique ${key} was given to ${ids.join(', ')}`
      findings.add({ kind: 'duplicated', record: key, message }, ids.length - 1)
    }
    for (const id of ids) {
      if (held.includes(id)) continue
      const message = `${id} was acknowledged, and ${held.length === 0 ? 'nobody' : held.join(', ')} has ${key}`
      findings.add({ kind: 'lost', record: id, message })
    }
  }
  for (const [key, ids] of holders) {
    if (ids.length > 1) {
      const message = `the unique ${key} is in the file ${ids.length} times`
      findings.add({ kind: 'duplicated', record: key, message }, ids.length - 1)
    }
    for (const id of ids) {
      if (!candidates.has(id))
        findings.add({ kind: 'unexpected', record: id, message: `nobody claimed ${id}` })
    }
  }
  for (const [key, times] of refused) {
    if (holders.has(key) || winners.has(key)) continue
    const message = `${times} were told that ${key} is taken, and nobody has it`
    findings.add({ kind: 'lost', record: key, message })
  }
}
