import { TransactionError } from '../../../errors.ts'
import type { TreeMemory } from '../../adapter.ts'
import { isContainer } from './recorder.ts'

/** A tree to look at: it shows what is in memory, now and later, and refuses to be changed. */
export class ReadOnly implements ProxyHandler<object> {
  readonly #path: string
  readonly #shown = new WeakMap<object, object>()

  /** @param path of the data file, for messages */
  constructor(path: string) {
    this.#path = path
  }

  /** The memory of a tree. @param tree asked at every look */
  memory(tree: () => unknown): TreeMemory {
    return { get: () => this.#show(tree()), set: () => this.#refuse() }
  }

  get(target: object, key: string | symbol): unknown {
    return this.#show(Reflect.get(target, key))
  }

  getOwnPropertyDescriptor(target: object, key: string | symbol): PropertyDescriptor | undefined {
    const found = Reflect.getOwnPropertyDescriptor(target, key)
    return found && { ...found, value: this.#show(found.value) }
  }

  set(): boolean {
    return this.#refuse()
  }

  defineProperty(): boolean {
    return this.#refuse()
  }

  deleteProperty(): boolean {
    return this.#refuse()
  }

  setPrototypeOf(): boolean {
    return this.#refuse()
  }

  preventExtensions(): boolean {
    return this.#refuse()
  }

  #show(value: unknown): unknown {
    if (!isContainer(value)) return value
    const known = this.#shown.get(value)
    if (known) return known
    const shown = new Proxy(value, this)
    this.#shown.set(value, shown)
    return shown
  }

  #refuse(): never {
    throw new TransactionError(
      `the data of ${this.#path} is kept in a journal, so it can only be changed in the callback of update() or ` +
        'transaction()',
      { path: this.#path },
    )
  }
}
