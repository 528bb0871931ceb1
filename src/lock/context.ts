import { AsyncLocalStorage } from 'node:async_hooks'

/**
 * What the current asynchronous context runs in, if anything.
 *
 * Until Node 24 an AsyncLocalStorage that was used once makes every promise of the process three times as dear, for good
 * (Node 20: 0.09 and 0.27 us each). So those who make many can have it switched off while nobody is inside: what a
 * context knew then has ended.
 */
export class Context<T> {
  readonly #storage = new AsyncLocalStorage<T | undefined>()
  readonly #insiders = new Set<object>()
  #isOn = false

  constructor() {
    all.push(this)
  }

  /** Switches off those that nobody is inside of. */
  static rest(): void {
    for (const context of all) context.#rest()
  }

  get(): T | undefined {
    return this.#isOn ? this.#storage.getStore() : undefined
  }

  /**
   * Runs inside `value`.
   * @param insider who is inside from now on, until it says `leave`
   */
  run<R>(value: T, insider: object, run: () => R): R {
    this.#insiders.add(insider)
    this.#isOn = true
    return this.#storage.run(value, run)
  }

  /** Runs inside nothing. */
  outside<R>(run: () => R): R {
    return this.get() === undefined ? run() : this.#storage.run(undefined, run)
  }

  leave(insider: object): void {
    this.#insiders.delete(insider)
  }

  #rest(): void {
    if (!this.#isOn || this.#insiders.size > 0) return
    this.#isOn = false
    this.#storage.disable()
  }
}

const all: Context<unknown>[] = []
