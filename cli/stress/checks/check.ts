import type { Content } from '../contents/content.ts'
import { Findings } from '../findings.ts'
import type { History } from '../history.ts'
import { isExpected } from '../operation.ts'
import { checkClaims } from './claims.ts'
import { checkCounters } from './counters.ts'
import { checkOrder } from './order.ts'
import { checkRecords } from './records.ts'

/** Compares what the workers were told with what is in the file. */
export function check(histories: readonly History[], content: Content): Findings {
  const findings = new Findings()
  if (content.unreadable !== undefined) {
    findings.add({
      kind: 'unreadable',
      message: `the vanilla library refuses the file: ${content.unreadable}`,
    })
  }
  for (const part of content.damaged) findings.add({ kind: 'torn', message: `not JSON: ${part}` })
  for (const history of histories) checkAnswers(history, findings)
  checkRecords(histories, content, findings)
  checkCounters(histories, content, findings)
  checkClaims(histories, content, findings)
  checkOrder(histories, content, findings)
  return findings
}

function checkAnswers({ worker, entries, ended, reason }: History, findings: Findings): void {
  for (const { operation, index, answer } of entries) {
    if (!answer || isExpected(operation, answer)) continue
    const finding = { worker, operation: { index, ...operation } }
    if (answer.said === 'torn') {
      findings.add({ kind: 'torn', ...finding, message: 'read a record that is not whole' })
    } else {
      const message = answer.said === 'error' ? answer.message : `was answered "${answer.said}"`
      findings.add({ kind: 'errors', ...finding, message: `${operation.kind}: ${message}` })
    }
  }
  if (ended === 'failed') {
    findings.add({ kind: 'errors', worker, message: `worker ${worker}: ${reason ?? 'it broke'}` })
  }
}
