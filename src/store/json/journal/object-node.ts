import type { TreeObject } from '../json-tree.ts'
import { ContainerNode, member, NODE } from './node.ts'
import type { Recorder } from './recorder.ts'

/** In the place of a member that is not there. */
export const ABSENT: unique symbol = Symbol('absent')

export class ObjectNode extends ContainerNode<TreeObject> implements ProxyHandler<TreeObject> {
  readonly draft: object
  /** The new values of members, or ABSENT. */
  changed: Map<string, unknown> | undefined

  constructor(
    recorder: Recorder,
    base: TreeObject,
    parent: ContainerNode | undefined,
    key: string | undefined,
  ) {
    super(recorder, base, parent, key)
    this.draft = new Proxy(base, this)
  }

  /** The value of a member, as it is kept; ABSENT where there is none. */
  current(key: string): unknown {
    if (this.changed?.has(key)) return this.changed.get(key)
    return Object.hasOwn(this.base, key) ? this.base[key] : ABSENT
  }

  get(target: object, key: string | symbol): unknown {
    if (typeof key === 'symbol') return key === NODE ? this : Reflect.get(target, key)
    const value = this.current(key)
    // What is not there may be inherited: `toString`.
    if (value === ABSENT) return Object.hasOwn(target, key) ? undefined : Reflect.get(target, key)
    return this.recorder.draft(value, this, key)
  }

  has(target: object, key: string | symbol): boolean {
    return this.#has(key) || (!Object.hasOwn(target, key) && Reflect.has(target, key))
  }

  ownKeys(): string[] {
    const keys = Object.keys(this.base)
    if (!this.changed) return keys
    const all = new Set([...keys, ...this.changed.keys()])
    return [...all].filter((key) => this.#has(key))
  }

  getOwnPropertyDescriptor(_: object, key: string | symbol): PropertyDescriptor | undefined {
    return this.#has(key)
      ? member(this.recorder.draft(this.current(key as string), this, key as string))
      : undefined
  }

  set(target: object, key: string | symbol, value: unknown): boolean {
    // Such an assignment would change the prototype, which JSON does not know.
    if (key === '__proto__' && !this.#has(key)) return false
    return this.defineProperty(target, key, { value })
  }

  defineProperty(_: object, key: string | symbol, descriptor: PropertyDescriptor): boolean {
    if (typeof key === 'symbol' || descriptor.get || descriptor.set) return false
    this.#change(key, this.recorder.enter(descriptor.value))
    return true
  }

  deleteProperty(_: object, key: string | symbol): boolean {
    if (this.#has(key)) this.#change(key as string, ABSENT)
    return true
  }

  setPrototypeOf(): boolean {
    return false
  }

  preventExtensions(): boolean {
    return false
  }

  #has(key: string | symbol): boolean {
    return typeof key === 'string' && this.current(key) !== ABSENT
  }

  #change(key: string, value: unknown): void {
    this.touch()
    this.changed ??= new Map()
    this.changed.set(key, value)
  }
}
