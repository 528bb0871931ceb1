import type { Content } from '../contents/content.ts'
import { Findings } from '../findings.ts'
import type { History } from '../history.ts'
import { isExpected } from '../operation.ts'
import { words } from '../words.ts'
import { checkClaims } from './claims.ts'
import { checkSeen, checkTotals } from './counters.ts'
import { checkOrder } from './order.ts'
import { checkRecords } from './records.ts'

/** Compares what the workers were told with what is in the file. */
export function check(histories: readonly History[], content: Content): Findings {
  const findings = new Findings()
  for (const history of histories) checkAnswers(history, findings)
  checkSeen(histories, findings)
  checkContent(histories, content, findings)
  return findings
}

/** Looks for what was acknowledged, and for what nobody wrote, in a file. */
export function checkContent(histories: readonly History[], content: Content, findings: Findings): void {
  if (content.unreadable !== undefined) {
    findings.add({
      kind: 'unreadable',
      message: `the vanilla library refuses the file: ${content.unreadable}`,
    })
  }
  for (const part of content.damaged) findings.add({ kind: 'torn', message: `not JSON: ${part}` })
  checkRecords(histories, content, findings)
  checkTotals(histories, content, findings)
  checkClaims(histories, content, findings)
  checkOrder(histories, content, findings)
}

function checkAnswers({ worker, entries, ended, reason }: History, findings: Findings): void {
  for (const { operation, index, answer } of entries) {
    if (!answer || isExpected(operation, answer)) continue
    const finding = { worker, operation: { index, ...operation } }
    if (answer.said === 'torn') {
      findings.add({ kind: 'torn', ...finding, message: 'read a record that is not whole' })
    } else {
      const message = answer.said === 'error' ? answer.message : `was answered "${answer.said}"`
      findings.add({ kind: 'errors', ...finding, message: `${words(operation.kind)}: ${message}` })
    }
  }
  if (ended === 'failed') {
    findings.add({ kind: 'errors', worker, message: `worker ${worker}: ${reason ?? 'it broke'}` })
  }
}
