import { relative } from 'node:path'
import { harmless, type LockHolder } from '../../src/errors.ts'
import { isServerUrl } from '../base/server-url.ts'
import { age } from '../base/terminal-text.ts'

export type Who = Pick<LockHolder, 'pid' | 'command' | 'sinceMs' | 'state' | 'stopped'> & {
  readonly host?: string | undefined
}

/** "held by 4711 (node worker.js) for 3.2 s and 2 others"; undefined where no holder is known. */
export function heldBy(holders: readonly Who[]): string | undefined {
  const [first, ...others] = holders.filter(({ state }) => state === 'holding')
  if (!first) return undefined
  const more = others.length === 0 ? '' : ` and ${others.length} other${others.length === 1 ? '' : 's'}`
  return `held by ${holderText(first)}${more}`
}

function holderText({ pid, host, command, sinceMs, stopped }: Who): string {
  const who = pid === undefined ? 'a process that cannot be seen from here' : String(pid)
  const what = command === undefined ? '' : ` (${harmless(command)})`
  const where = host === undefined ? '' : ` on ${harmless(host)}`
  return (
    who + where + what + (sinceMs === undefined ? '' : ` for ${age(sinceMs)}`) + (stopped ? ', stopped' : '')
  )
}

/** A path as short as it can be said from here, harmless to show. */
export function shortPath(path: string): string {
  if (isServerUrl(path)) return harmless(path)
  const short = relative('', path)
  return harmless(short.startsWith('..') ? path : short)
}
