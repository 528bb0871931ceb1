import type { Verdict } from '../verdict.ts'
import { type Html, html } from './html.ts'
import { LINKS } from './links.ts'
import { type Compared, grouped } from './verdict-words.ts'

/** V8 compiles a function after some thousand calls: with fewer operations of each process most of its code is slow. */
const COLD_BELOW = 1000

/** Why the run with pslock does fewer operations per second, where it does. */
export function whySlower({ locked, control }: Compared<Verdict>): Html | undefined {
  if (!locked || !control || locked.opsPerSecond >= control.opsPerSecond) return undefined
  const each = Math.round(locked.acknowledged / locked.procs)
  return html`
<p class="why"><b>Why is it slower with pslock?</b>
Without a lock all processes work at the same time, each from what it has in memory, and write over each other's changes. That is fast, and it is why things get lost.
With pslock one process at a time changes the file, and first reads what the others have written. The others wait.
${
  each < COLD_BELOW &&
  html`This run is also <em>cold</em>: a new process did only ${grouped(each)} operations on average, so Node.js was still loading and compiling its code while it had the lock, and all others waited for that.
Processes that have run for a while are much faster: <a href="${LINKS.performance}">figures for both</a>.`
}
${locked.disturbed.stops > 0 && html`And a process that was stopped while it had the lock made all others wait.`}</p>`
}
