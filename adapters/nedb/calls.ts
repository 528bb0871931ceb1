import type { Call } from '../../src/features/hooks/hook.ts'
import type { Nedb } from './internals.ts'

/**
 * Everything passes the executor, which does not learn what was called. But every method reaches it before it returns, so
 * what is being called at this moment is what the executor is being given.
 */
let current: { readonly db: object; readonly call: Call } | undefined

/** Whether it was called by its form with a callback. */
let hasCallback = false

/** Runs a method by which `db` is asked for something. */
export function calling<T>(db: object, name: string, args: readonly unknown[], run: () => T): T {
  const outer = current
  current = { db, call: { name, args } }
  try {
    return run()
  } finally {
    current = outer
  }
}

/** What is being called; undefined for a task that was given to the executor directly. */
export function currentCall(db: object): Call | undefined {
  return current?.db === db ? current.call : undefined
}

/** Whether the caller of what is being called gets to know of its end by a callback. */
export function isWithCallback(): boolean {
  return hasCallback
}

/** The methods that reach the executor; their forms with a callback go through these. Cursors do so when executed. */
const METHODS = [
  'insert',
  'update',
  'remove',
  'ensureIndex',
  'removeIndex',
  'compactDatafile',
  'loadDatabase',
  'dropDatabase',
] as const

/** Makes the methods of a class known by their names. */
export function nameCalls(prototype: object): void {
  for (const name of METHODS) {
    const method = Reflect.get(prototype, `${name}Async`) as (this: Nedb, ...args: unknown[]) => unknown
    Object.defineProperty(prototype, `${name}Async`, {
      configurable: true,
      writable: true,
      value(this: Nedb, ...args: unknown[]) {
        return calling(this, name, args, () => method.apply(this, args))
      },
    })
  }
  for (const name of [...METHODS, 'find', 'findOne', 'count']) {
    const method = Reflect.get(prototype, name) as (this: Nedb, ...args: unknown[]) => unknown
    Object.defineProperty(prototype, name, {
      configurable: true,
      writable: true,
      value(this: Nedb, ...args: unknown[]) {
        const outer = hasCallback
        hasCallback = typeof args.at(-1) === 'function'
        try {
          return method.apply(this, args)
        } finally {
          hasCallback = outer
        }
      },
    })
  }
}
