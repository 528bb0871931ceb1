import { FINDING_KINDS } from '../findings.ts'
import type { StressRun } from '../stress.ts'
import { type Html, html } from './html.ts'
import { grouped, total } from './verdict-words.ts'

const LISTED = 200

/** What is wrong, record by record, the losses first. Nothing where nothing is. */
export function losses({ verdict, record }: StressRun, of: 'locked' | 'control'): Html | undefined {
  const all = total(verdict)
  if (all === 0) return undefined
  const sorted = FINDING_KINDS.flatMap((kind) => record.findings.filter((finding) => finding.kind === kind))
  const listed = sorted.slice(0, LISTED)
  const more = sorted.length - listed.length
  return html`
<h3>What is wrong ${of === 'control' ? 'without a lock' : 'with pslock'}, record by record</h3>
<div class="card ${of}">
<div class="numbers" role="region" aria-label="what is wrong" tabindex="0">
<ol>${listed.map(
    ({ kind, worker, operation, message }) =>
      html`<li><b>${kind}</b> ${message}${operation && ` (process ${worker}, operation ${operation.index}: ${operation.kind})`}</li>`,
  )}</ol>
</div>
<p class="small">${more > 0 ? `These are the first ${LISTED}; there are ${grouped(more)} more entries. ` : undefined}${grouped(all)} in all.</p>
</div>`
}
