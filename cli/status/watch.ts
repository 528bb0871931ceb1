import { setTimeout as sleep } from 'node:timers/promises'
import { errnoOf } from '../../src/errors.ts'
import { type Status, status, statusText } from '../status.ts'
import { isRewritable } from '../terminal-text.ts'
import { Screen } from './screen.ts'

/**
 * Shows the status again and again until Ctrl-C, or until nobody reads any more: on a terminal in place, elsewhere as
 * one block each time, as JSON one object a line.
 */
export async function watchStatus(file: string, everyMs: number, json: boolean): Promise<void> {
  const end = new AbortController()
  process.once('SIGINT', () => end.abort())
  process.stdout.on('error', (error) => {
    if (errnoOf(error) !== 'EPIPE') throw error
    end.abort()
  })
  const output = json ? { show: showJson } : isRewritable(process.stdout.isTTY) ? new Screen() : { show }
  using _restored = output instanceof Screen ? output : undefined
  while (!end.signal.aborted) {
    output.show(await status(file))
    // The abort is the only thing that can end a sleep early.
    await sleep(everyMs, undefined, { signal: end.signal }).catch(() => {})
  }
}

function show(found: Status): void {
  process.stdout.write(`${new Date().toISOString()}\n${statusText(found)}\n\n`)
}

function showJson(found: Status): void {
  process.stdout.write(`${JSON.stringify({ at: new Date().toISOString(), ...found })}\n`)
}
