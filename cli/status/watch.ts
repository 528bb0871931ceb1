import { setTimeout as sleep } from 'node:timers/promises'
import { tolerateClosedPipe, writeOut } from '../base/output.ts'
import { isRewritable } from '../base/terminal-text.ts'
import { Screen } from './screen.ts'
import { type Status, statusText } from './status.ts'

/**
 * Shows the status again and again until Ctrl-C, or until nobody reads any more: on a terminal in place, elsewhere as
 * one block each time, as JSON one object a line.
 */
export async function watchStatus(
  look: () => Promise<Status>,
  everyMs: number,
  json: boolean,
): Promise<void> {
  const end = new AbortController()
  process.once('SIGINT', () => end.abort())
  tolerateClosedPipe(process.stdout).on('error', () => end.abort())
  const output = json ? { show: showJson } : isRewritable(process.stdout.isTTY) ? new Screen() : { show }
  using _restored = output instanceof Screen ? output : undefined
  while (!end.signal.aborted) {
    output.show(await look())
    // The abort is the only thing that can end a sleep early.
    await sleep(everyMs, undefined, { signal: end.signal }).catch(() => {})
  }
}

function show(found: Status): void {
  writeOut(`${new Date().toISOString()}\n${statusText(found)}\n\n`)
}

function showJson(found: Status): void {
  writeOut(`${JSON.stringify({ at: new Date().toISOString(), ...found })}\n`)
}
