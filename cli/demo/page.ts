import { asset } from '../stress/page/assets.ts'
import { Html, html } from '../stress/page/html.ts'
import { BOUNDS, DEFAULT_KNOBS } from './knobs.ts'
import { hasSqlite } from './sqlite.ts'

const WAYS = [
  ['pslock', 'With pslock', 'NeDB with a lock'],
  ['none', 'No lock', 'NeDB alone, as it is'],
  ['sqlite', 'SQLite', 'a database with locks of its own'],
] as const

const KNOBS = [
  ['processes', 'Processes', '', 'insert at the same time, besides the web site; at most 10'],
  ['num', 'NUM', '', 'records of each process'],
  ['delayMs', 'DELAY', 'ms', 'between two records'],
  ['sleepMs', 'SLEEP', 'ms', 'the lock is kept with each record'],
  ['timeoutMs', 'TIMEOUT', 'ms', 'one waits for the lock, then gives the record up'],
] as const

/** The page of the demo. @param nonce of the policy under which it is sent */
export function demoPage(nonce: string): string {
  const isThere = hasSqlite()
  return html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<link rel="icon" href="data:,">
<title>pslock demo</title>
<style nonce="${nonce}">
${new Html(asset('page.css'))}
${new Html(asset('web.css'))}
</style>
</head>
<body>
<main>
<h1>One file, many writers</h1>
<p class="lead">A web site and <span id="lead-words">3 other programs</span> insert records into the same file at the same moment. Is every record still there at the end?</p>
<form id="form">
<fieldset class="ways"><legend class="small">Who keeps order?</legend>
${WAYS.map(([value, name, text]) => {
  const isMissing = value === 'sqlite' && !isThere
  return html`<label class="way"><input type="radio" name="way" value="${value}"${value === DEFAULT_KNOBS.way ? new Html(' checked') : undefined}${isMissing ? new Html(' disabled') : undefined}><span><strong>${name}</strong><small>${isMissing ? 'needs: npm install better-sqlite3' : text}</small></span></label>`
})}
</fieldset>
<div class="go"><button type="submit" id="start" class="main">Start</button><button type="button" id="end" disabled>End the run</button><label><input type="checkbox" id="slow"> slow, to watch: half a minute</label></div>
<details id="knobs"><summary>Settings: <span id="knobs-words"></span></summary>
<div class="knobs">
${KNOBS.map(
  ([name, title, unit, text]) =>
    html`<label>${title}<span><input type="number" name="${name}" required min="${BOUNDS[name][0]}" max="${BOUNDS[name][1]}" value="${DEFAULT_KNOBS[name]}">${unit}</span><small>${text}</small></label>`,
)}
<label>WAL<span><input type="checkbox" name="wal" checked></span><small>SQLite alone: it keeps a write-ahead log</small></label>
</div></details>
<p id="hint" class="hint" role="status"></p>
</form>

<section id="result" class="card result" role="status"><strong id="verdict"></strong><span id="verdict-text"></span></section>

<div class="figures">
<div class="card"><span id="rate-words">records a second</span><strong id="rate"></strong></div>
<div class="card"><span>inserted</span><strong id="done"></strong><progress id="progress" max="1" value="0" aria-label="inserted"></progress></div>
<div class="card"><span>refused</span><strong id="failed"></strong></div>
<div class="card"><span>longest wait</span><strong id="longest"></strong></div>
</div>

<section class="card processes"><table aria-label="Processes">
<thead><tr>${['process', 'state', 'inserted', 'a second', 'refused', 'longest wait'].map((name) => html`<th scope="col">${name}</th>`)}<th scope="col" aria-label="signals"></th></tr></thead>
<tbody id="rows"></tbody>
</table>
<p id="last-error" class="small"></p>
</section>

<div class="live">
<figure><h2>Records a second</h2><div class="plot"><canvas id="chart" role="img" aria-label="Records a second of each process. The numbers are in the table of processes."></canvas></div></figure>
<section class="card site"><h2>The web site</h2>
<p>It inserts into the same file, one record for each request.</p>
<button type="button" id="post" disabled><code>POST /records</code></button>
<label class="visitors"><input type="checkbox" id="visitors" checked> two visitors a second</label>
<p class="answer"><span>last answer</span><strong id="answer">–</strong><small id="answer-text"></small></p>
</section>
</div>

<details id="terminal"><summary>Insert from a terminal, too</summary>
<p id="command-words"></p>
<pre id="command" data-program="${program()}" hidden></pre></details>
</main>
<footer>Everything runs on this machine, and ends with the server. <a href="https://github.com/pslock/pslock#readme">pslock</a></footer>
<script src="/chart.js" nonce="${nonce}"></script>
<script nonce="${nonce}">
${new Html(asset('web.js'))}
</script>
</body>
</html>
`.text
}

/** How to call pslock from another terminal, in whatever folder: `npx` may be what found it here. */
function program(): string {
  return ['node', ...process.argv.slice(1, 2).map((file) => `'${file.replaceAll("'", "'\\''")}'`)].join(' ')
}
