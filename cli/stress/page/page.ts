import type { StressRun } from '../stress.ts'
import type { Verdict } from '../verdict.ts'
import { asset, chartLibrary } from './assets.ts'
import { comparison } from './comparison.ts'
import { Html, html, json } from './html.ts'
import { LINKS } from './links.ts'
import { losses } from './losses.ts'
import type { Drawing, Plot } from './plot.ts'
import { plotRows } from './plots.ts'
import { type Compared, headline, LIBRARY, sentences } from './verdict-words.ts'

/**
 * The report as one page that needs nothing else: script, style and data are in it, and it may ask the network for
 * nothing.
 * @param madeOn what the page says about where and when the runs were made
 */
export function page(all: readonly Compared<StressRun>[], madeOn: string): string {
  const verdicts = all.map(verdictsOf)
  const { text, tone } = headline(verdicts)
  const drawings: Drawing[] = []
  const stores = all.map((compared, index) =>
    store(compared, verdicts[index] as Compared<Verdict>, all.length > 1, drawings),
  )
  return html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>pslock stress: ${text.toLowerCase()}</title>
<style>
${new Html(asset('page.css'))}
</style>
</head>
<body>
<main>
<nav class="small"><a href="${LINKS.project}">pslock</a> stress <a href="${LINKS.reading}">How to read this page</a></nav>
<h1 class="${tone}">${text}</h1>
${stores}
</main>
<footer>${madeOn} <a href="${LINKS.reading}">How to read this page</a> · <a href="${LINKS.project}">The project</a></footer>
<script type="application/json" id="drawings">${json(drawings)}</script>
<script>
${new Html(chartLibrary())}
</script>
<script>
${new Html(asset('draw.js'))}
</script>
</body>
</html>
`.text
}

function verdictsOf({ locked, control }: Compared<StressRun>): Compared<Verdict> {
  return { locked: locked?.verdict, control: control?.verdict }
}

function store(
  { locked, control }: Compared<StressRun>,
  verdicts: Compared<Verdict>,
  isOneOfSeveral: boolean,
  drawings: Drawing[],
): Html {
  const runs = [locked, control].filter((run) => run !== undefined)
  const rows = plotRows(runs)
  return html`
<section>
${isOneOfSeveral ? html`<h2>${runs[0] && LIBRARY[runs[0].verdict.store]}</h2>` : undefined}
<p class="lead">${sentences(verdicts)}</p>
${comparison(verdicts)}
${locked && losses(locked, 'locked')}
${rows.map(
  ({ title, plots }) => html`
<h3>${title}</h3>
<div class="pair">${plots.map((plot, index) => figure(title, plot, runs[index] as StressRun, drawings))}</div>`,
)}
${control && losses(control, 'control')}
</section>`
}

/** Lanes need their height; a process has to have a line that one can see. */
const LANE_PX = 11
const AROUND_LANES_PX = 90

function figure(
  title: string,
  { finding, drawing, table }: Plot,
  { verdict }: StressRun,
  drawings: Drawing[],
): Html {
  const run = verdict.mode
  const name = run === 'locked' ? 'With pslock' : 'Without a lock (control)'
  const height =
    drawing?.kind === 'lanes' ? Math.max(260, drawing.lanes.length * LANE_PX + AROUND_LANES_PX) : 260
  const plot =
    drawing &&
    html`<div class="plot" style="height: ${height}px"><canvas data-drawing="${drawings.push(drawing) - 1}" data-run="${run}" role="img" aria-label="${title}, ${name}: ${finding}"></canvas></div>`
  return html`
<figure class="${run}">
<h4>${name}</h4>
${plot}
<figcaption>${finding}</figcaption>
${
  table.rows.length === 0
    ? undefined
    : html`<details><summary>The numbers</summary>
<div class="numbers" role="region" aria-label="The numbers: ${title}, ${name}" tabindex="0"><table>
<thead><tr>${table.head.map((cell) => html`<th scope="col">${cell}</th>`)}</tr></thead>
<tbody>${table.rows.map((row) => html`<tr>${row.map((cell, at) => (at === 0 ? html`<th scope="row">${cell}</th>` : html`<td>${cell}</td>`))}</tr>`)}</tbody>
</table></div></details>`
}
</figure>`
}
