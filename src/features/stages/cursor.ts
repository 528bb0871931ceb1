import type { StoreCursor } from '../../store/adapter.ts'

/**
 * What a stage finds, in order and in part, as a cursor of the store says it. Nothing is looked at before it is awaited, and
 * then each time. It rejects with the errors of `Stage.view`.
 */
export interface StagedCursor<T> extends Promise<T> {
  /** @param order fields, each with 1 (ascending) or -1 */
  sort(order: Readonly<Record<string, number>>): this
  /** Leaves out the first. */
  skip(count: number): this
  /** Takes no more than so many. */
  limit(count: number): this
  /** As to await it. */
  exec(): Promise<T>
}

/** Remembers what is asked of a cursor that there is only inside of a look. */
export class LateCursor<T> implements StagedCursor<T> {
  readonly [Symbol.toStringTag] = 'StagedCursor'
  readonly #look: (prepare: (cursor: StoreCursor) => void) => Promise<unknown>
  readonly #steps: ((cursor: StoreCursor) => void)[] = []

  constructor(look: (prepare: (cursor: StoreCursor) => void) => Promise<unknown>) {
    this.#look = look
  }

  sort(order: Readonly<Record<string, number>>): this {
    this.#steps.push((cursor) => cursor.sort(order))
    return this
  }

  skip(count: number): this {
    this.#steps.push((cursor) => cursor.skip(count))
    return this
  }

  limit(count: number): this {
    this.#steps.push((cursor) => cursor.limit(count))
    return this
  }

  exec(): Promise<T> {
    return this.#look((cursor) => {
      for (const step of this.#steps) step(cursor)
    }) as Promise<T>
  }

  // biome-ignore lint/suspicious/noThenProperty: the cursors of the stores are awaited, too
  then<A = T, B = never>(
    onFound?: ((found: T) => A | PromiseLike<A>) | null,
    onError?: ((error: unknown) => B | PromiseLike<B>) | null,
  ): Promise<A | B> {
    return this.exec().then(onFound, onError)
  }

  catch<B = never>(onError?: ((error: unknown) => B | PromiseLike<B>) | null): Promise<T | B> {
    return this.exec().catch(onError)
  }

  finally(onEnd?: (() => void) | null): Promise<T> {
    return this.exec().finally(onEnd)
  }
}
