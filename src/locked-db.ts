import { requireKnown, requireObject, show } from './arguments.ts'
import type { LockedMembers, Reads } from './members.ts'
import { type Members, openLog, openText, openTree } from './open.ts'
import type { Adapter, Call, ImageAdapter, LogAdapter, Methods, TreeAdapter } from './store/adapter.ts'
import {
  isOnServer,
  LOG_NAMES,
  type LogOptions,
  PLACE_NAMES,
  type ServerOptions,
  type StoreOptions,
  TREE_NAMES,
  type TreeOptions,
} from './store/options.ts'

export type LockedDbOptions<A> = StoreOptions & {
  /** Describes the store: `lowdbAdapter`, `nedbAdapter`, `nedbPromisesAdapter`, or one of your own. */
  readonly adapter: A
} & (InFile | OnServer)

interface InFile {
  /** The data file. */
  readonly path: string
  readonly url?: undefined
}

interface OnServer extends ServerOptions {
  readonly url: string | URL
  readonly path?: undefined
}

/** A store all of whose methods return promises. */
export type Promised<S> = {
  [K in keyof S]: S[K] extends (...args: infer P) => infer R ? (...args: P) => Promise<Awaited<R>> : S[K]
}

/** A store under its lock. @typeParam R the names of the members that it has in a view; all by default */
export type LockedDb<S extends object, R extends PropertyKey = PropertyKey> = Omit<S, keyof LockedMembers> &
  LockedMembers<Reads<Omit<S, keyof LockedMembers>, R>>

/** The names of the methods that are not known to write. */
type Readers<M extends Methods> = { [K in keyof M]: M[K] extends 'write' ? never : K }[keyof M]

interface LockedDbClass {
  /** The methods of an image store return promises from now on, since they wait for the lock. */
  new <S extends object, M extends Methods>(
    store: S,
    options: LockedDbOptions<ImageAdapter<S, M>>,
  ): LockedDb<Promised<S>, Readers<M>>
  new <S extends object, R extends PropertyKey>(
    store: S,
    options: LockedDbOptions<TreeAdapter<S, R>> & TreeOptions,
  ): LockedDb<S, R>
  new <S extends object, R extends PropertyKey>(
    store: S,
    options: LockedDbOptions<LogAdapter<S, R>> & LogOptions,
  ): LockedDb<S, R>
}

/**
 * Any store under its lock. `new LockedDb(store, { adapter, path })`, or with a `url` and a `name` instead of the path, is the store with every method under the lock, and with
 * the members of `LockedMembers`. Each call works on the current state of the file, and is in the file entirely or not at
 * all. Use it instead of `store`: calls on `store` itself are not protected.
 *
 * Methods reject with the errors of `PsLock#exclusive`, CorruptStoreError, StoreIoError and the errors of the store.
 * @throws TypeError for wrong options
 */
export const LockedDb: LockedDbClass = function LockedDb(
  store: object,
  options: LockedDbOptions<Adapter<object>>,
): object {
  return open(store, options)
} as unknown as LockedDbClass

function open(store: object, given: LockedDbOptions<Adapter<object>>): object {
  requireObject(store, 'store')
  requireObject(given, 'options')
  const { adapter, path, ...options } = given
  isOnServer(options, { name: 'path', value: path })
  switch (adapter?.family) {
    case 'log':
      requireKnown(options, LOG_NAMES)
      return lockedProxy(store, openLog(store, adapter, path, options).members)
    case 'tree':
      requireKnown(options, TREE_NAMES)
      return lockedProxy(store, openTree(store, adapter, path, options).members)
    case 'image': {
      requireKnown(options, PLACE_NAMES)
      const { session, members } = openText(store, adapter, path, options)
      return lockedProxy(store, members, (name) => {
        const kind = adapter.methods[name] ?? 'write'
        if (kind === 'free') return undefined
        return (run, call) => session.perform(kind === 'read' ? 'shared' : 'exclusive', run, call)
      })
    }
    default:
      throw new TypeError(`adapter must be a store adapter (an object with a family), got ${show(adapter)}`)
  }
}

/** How calls of one method are run; undefined: as they are, without the lock. */
type Locking = (name: string) => ((run: () => unknown, call: Call) => Promise<unknown>) | undefined

/**
 * The store with `lock` and `close` added and, where `locking` is given, its methods run under the lock. Members are
 * read from, and methods called on, the *real* store: a plain Proxy breaks classes with `#private` fields.
 */
function lockedProxy(store: object, membersOf: (self: object) => Members, locking?: Locking): object {
  const added: Record<PropertyKey, unknown> = {}
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
  const members = membersOf(proxy)
  Object.assign(added, members, { [Symbol.asyncDispose]: members.close })
  return proxy
}
