import type { Call } from './hooks/hook.ts'
import { allMembers, type OpenedMembers } from './members.ts'
import type { StoreTables } from './table/tables.ts'
import type { TransactionsOf } from './transaction.ts'

/** What the proxy of a store adds to it. */
export interface Added {
  readonly members: OpenedMembers
  readonly tables: StoreTables<never>
  /** Its transactions, in which the callback is given `tx(proxy)`. */
  doors(proxy: object): TransactionsOf<object>
}

/** How calls of one method are run; undefined: as they are, without the lock. */
export type Locking = (name: string) => ((run: () => unknown, call: Call) => Promise<unknown>) | undefined

/**
 * The store with `lock` and `close` added and, where `locking` is given, its methods run under the lock. Members are
 * read from, and methods called on, the *real* store: a plain Proxy breaks classes with `#private` fields.
 */
export function lockedProxy(store: object, { members, tables, doors }: Added, locking?: Locking): object {
  const added: Record<PropertyKey, unknown> = {
    [Symbol.asyncDispose]: members.close,
  }
  const methods = new Map<PropertyKey, unknown>()
  const proxy: object = new Proxy(store, {
    get(target, key) {
      if (Object.hasOwn(added, key)) return added[key]
      const value: unknown = Reflect.get(target, key, target)
      if (typeof value !== 'function' || key === 'constructor') return value
      // The same function each time, so that `db.find === db.find`.
      const known = methods.get(key) as { of: unknown; wrapped: unknown } | undefined
      if (known?.of === value) return known.wrapped
      const run = typeof key === 'string' ? locking?.(key) : undefined
      // A method that returns its store, for chaining, must not hand out a way past the lock.
      const guarded = (result: unknown) => (result === target ? proxy : result)
      const call = (args: unknown[]): unknown => Reflect.apply(value, target, args)
      const wrapped = run
        ? (...args: unknown[]) => run(() => call(args), { name: String(key), args }).then(guarded)
        : (...args: unknown[]) => guarded(call(args))
      methods.set(key, { of: value, wrapped })
      return wrapped
    },
    set: (target, key, value) => Reflect.set(target, key, value, target),
    has: (target, key) => Object.hasOwn(added, key) || Reflect.has(target, key),
  })
  Object.assign(added, allMembers(members, tables, doors(proxy) as TransactionsOf<never>))
  return proxy
}
