import type { Table } from '../features/tables/types.ts'
import type { AcquireOptions } from '../lock/options.ts'
import type { PsLock } from '../lock/ps-lock.ts'

/** What nobody may change, down to its last member: what a tree is in a view. */
export type DeepReadonly<T> = unknown extends T
  ? T
  : T extends Primitive | ((...args: never[]) => unknown)
    ? T
    : T extends readonly unknown[]
      ? ReadonlyList<T>
      : { readonly [K in keyof T]: DeepReadonly<T[K]> }

// In this form the type of the elements is looked at only when it is asked for, so that it may contain itself.
type ReadonlyList<T extends readonly unknown[]> = T[number][] extends T
  ? readonly DeepReadonly<T[number]>[]
  : { readonly [K in keyof T]: DeepReadonly<T[K]> }

type Primitive = string | number | bigint | boolean | symbol | null | undefined

/**
 * The members R of a store, its data not to be changed. A method is what R says that it is: one that only looks.
 * @typeParam R `PropertyKey` where it is not known which methods do: all of them
 */
export type Reads<S, R extends PropertyKey> = {
  readonly [K in keyof S as K extends R ? K : never]: S[K] extends (...args: never[]) => unknown
    ? S[K]
    : DeepReadonly<S[K]>
}

/** What every store has in a view besides V, its own members that only look. */
export interface InView<V> {
  readonly lock: PsLock
  /** The same state. */
  view<T>(run: (tx: V & InView<V>) => T, options?: AcquireOptions): Promise<Awaited<T>>
  /** As outside, but it can only be looked at. */
  table<R extends object, D extends keyof R = never>(name: string): Pick<Table<R, D>, 'name' | 'select'>
}

/** As `InView`, of a store whose calls are synchronous. */
export interface InSyncView<V> {
  readonly lock: PsLock
  view<T>(run: (tx: V & InSyncView<V>) => T, options?: AcquireOptions): T
}

/** What a class that is derived from `Base`, a class of stores, has of its own. */
export type Own<This, Base> = Omit<This, keyof Base>

/**
 * What the callback of `view` is given by a store of type D: `ViewOf<typeof db>`, for functions that only look. They take the
 * store itself, too.
 */
export type ViewOf<D> = D extends { view(run: (tx: infer V) => unknown): unknown } ? V : never
