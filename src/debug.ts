import { harmless } from './errors.ts'

/**
 * What pslock does, on stderr, for somebody who looks for a fault: `NODE_DEBUG=pslock node app.js`. node:util is loaded
 * only where NODE_DEBUG is set.
 */
const log = process.env.NODE_DEBUG ? process.getBuiltinModule('node:util').debuglog('pslock') : undefined

/** Whether anybody reads it: to be asked before something is computed only for `debug`. */
export const isDebugging: boolean = log?.enabled ?? false

/** Prints one line: `PSLOCK 4711: acquire /data/db.json.lock mode=exclusive waitedMs=0.3`. Without NODE_DEBUG it does nothing. */
export function debug(what: string, path: string, facts: Readonly<Record<string, unknown>> = {}): void {
  if (!isDebugging) return
  const told = Object.entries(facts).filter(([, value]) => value !== undefined && value !== false)
  log?.('%s', harmless([what, path, ...told.map(([name, value]) => `${name}=${shown(value)}`)].join(' ')))
}

function shown(value: unknown): string {
  return typeof value === 'number' ? String(Math.round(value * 1000) / 1000) : String(value)
}
