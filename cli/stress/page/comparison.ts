import { stripVTControlCharacters } from 'node:util'
import { duration, figure } from '../../base/table.ts'
import { FINDING_KINDS } from '../findings.ts'
import { MEANING, repeatCommand, trials } from '../report.ts'
import type { Verdict } from '../verdict.ts'
import { words } from '../words.ts'
import { clock } from './clock.ts'
import { type Html, html } from './html.ts'
import { type Compared, grouped, total } from './verdict-words.ts'
import { whySlower } from './why-slower.ts'

/** Two numbers that say it all, and the table of the terminal. */
export function comparison(compared: Compared<Verdict>): Html {
  const { locked, control } = compared
  return html`
<div class="pair">
${locked && card('With pslock', 'locked', locked)}
${control ? card('Without a lock (control)', 'control', control) : noControl}
</div>
${whySlower(compared)}
${verdictTable(compared)}
${locked?.floor?.reached === false ? html`<p class="small">${tooIdle(locked.floor)}</p>` : undefined}
<details><summary>How it was run, and how to run it again</summary>
${[locked, control].flatMap((verdict) => (verdict ? run(verdict) : []))}
</details>`
}

const noControl = html`<p class="small">There is no control: the run was interrupted before it.</p>`

function card(name: string, run: 'locked' | 'control', verdict: Verdict): Html {
  const wrong = total(verdict)
  const tone = wrong === 0 ? (run === 'locked' ? 'good' : 'unsure') : 'bad'
  const text = wrong === 0 ? 'nothing wrong' : `${grouped(wrong)} ${wrong === 1 ? 'thing' : 'things'} wrong`
  return html`<div class="card ${run}">
${name}
<strong class="${tone}">${text}</strong>
<span class="small">${grouped(verdict.acknowledged)} of ${grouped(verdict.planned)} operations acknowledged in ${clock(verdict.elapsedMs)}</span>
</div>`
}

const WAITS = [
  ['half of the operations took at most', 'p50'],
  ['99 of 100 took at most', 'p99'],
  ['the longest took', 'max'],
] as const

function verdictTable({ locked, control }: Compared<Verdict>): Html {
  const runs = [locked, control].filter((verdict) => verdict !== undefined)
  const names = [locked && 'With pslock', control && 'Without a lock'].filter((name) => name !== undefined)
  const row = (name: string, meaning: string | undefined, of: (verdict: Verdict) => Html | string) => html`
<tr><th scope="row">${name}${meaning && html`<small>${meaning}</small>`}</th>${runs.map((one) => html`<td>${of(one)}</td>`)}</tr>`
  return html`
<table>
<caption>What is wrong in the file, found with the unmodified library; and what the work cost</caption>
<thead><tr><th scope="col"></th>${names.map((name) => html`<th scope="col">${name}</th>`)}</tr></thead>
<tbody>${FINDING_KINDS.map((kind) =>
    row(words(kind), MEANING[kind], ({ found }) =>
      found[kind] === 0 ? '0' : html`<strong class="bad">${grouped(found[kind])}</strong>`,
    ),
  )}
${row('operations per second', undefined, ({ opsPerSecond }) => figure(opsPerSecond))}
${WAITS.map(([name, which]) => row(name, undefined, ({ latencyMs: { all } }) => duration(all?.[which] ?? 0)))}
${row('hand-overs per operation', 'how often the next one was of another process: near 1 all compete', (one) => one.handoversPerOperation.toFixed(2))}
${row('fairness', 'the least that a process had done at half time, divided by the most: 1 is equal', (one) => one.fairness.toFixed(2))}
</tbody>
</table>`
}

function tooIdle({ measure, least }: { measure: string; least: number }): string {
  const what = measure === 'leastTurns' ? 'turns for each process' : 'hand-overs per operation'
  return `Not enough contention: at least ${least} ${what} are needed to prove anything.`
}

function run(verdict: Verdict): Html {
  return html`<p class="small">${trials(verdict).map((line) => html`${stripVTControlCharacters(line)}<br>`)}
<code>${repeatCommand(verdict)}</code>${verdict.kept === undefined ? undefined : html`<br>kept in <code>${verdict.kept}</code>`}</p>`
}
