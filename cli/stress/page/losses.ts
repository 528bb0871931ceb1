import { FINDING_KINDS, type Finding } from '../findings.ts'
import type { StressRun } from '../stress.ts'
import { words } from '../words.ts'
import { type Html, html } from './html.ts'
import { grouped, total } from './verdict-words.ts'

/** As many show what kind of thing is wrong; the rest is behind a click. */
const SHOWN = 10
const LISTED = 200

/** What is wrong, record by record, the losses first. Nothing where nothing is. */
export function losses({ verdict, record }: StressRun, of: 'locked' | 'control'): Html | undefined {
  const all = total(verdict)
  if (all === 0) return undefined
  const sorted = FINDING_KINDS.flatMap((kind) => record.findings.filter((finding) => finding.kind === kind))
  const folded = sorted.slice(SHOWN, LISTED)
  const left = sorted.length - LISTED
  return html`
<h3>What is wrong ${of === 'control' ? 'without a lock' : 'with pslock'}, record by record</h3>
<div class="card ${of}">
<ol>${sorted.slice(0, SHOWN).map(entry)}</ol>
${
  folded.length > 0 &&
  html`<details><summary>and ${grouped(folded.length)} more</summary>
<ol start="${SHOWN + 1}">${folded.map(entry)}</ol></details>`
}
<p class="small">${left > 0 && `These are the first ${LISTED}; there are ${grouped(left)} more entries. `}${grouped(all)} in all${all > sorted.length && ': an entry may stand for several'}.</p>
</div>`
}

function entry({ kind, worker, operation, message }: Finding): Html {
  const where = operation && ` (process ${worker}, operation ${operation.index}: ${words(operation.kind)})`
  return html`<li><b>${words(kind)}</b> ${message}${where}</li>`
}
