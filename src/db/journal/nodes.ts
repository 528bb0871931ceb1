import type { TreeObject } from '../tree/json-tree.ts'
import type { Container, Node, Recorder } from './recorder.ts'

/** In the place of a member that was deleted. */
export const DELETED: unique symbol = Symbol('deleted')

const data = (value: unknown): PropertyDescriptor => ({
  value,
  writable: true,
  enumerable: true,
  configurable: true,
})

/** A container of the tree that somebody looks at, and what was changed of it. */
abstract class ContainerNode<B extends Container> {
  readonly recorder: Recorder
  readonly base: B
  abstract readonly proxy: object
  readonly #parent: Node | undefined
  /** Something in it, at whatever depth, was changed. */
  isTouched = false
  #changed: Map<string, unknown> | undefined

  constructor(recorder: Recorder, base: B, parent: Node | undefined) {
    this.recorder = recorder
    this.base = base
    this.#parent = parent
  }

  /** New values of members that are kept beside the base. */
  get changed(): ReadonlyMap<string, unknown> | undefined {
    return this.recorder.isOpen ? this.#changed : undefined
  }

  protected change(key: string, value: unknown): void {
    this.touch()
    this.#changed ??= new Map()
    this.#changed.set(key, value)
  }

  /** Every child that was looked at knows its parent, so that what was changed is found without a search. */
  readonly children: Map<string, Node> = new Map()

  protected touch(): void {
    this.recorder.requireOpen()
    for (let node = this as unknown as Node | undefined; node && !node.isTouched; node = node.parent) {
      node.isTouched = true
    }
  }

  get parent(): Node | undefined {
    return this.#parent
  }

  /** What the user is given for a member. */
  protected hand(key: string, value: unknown): unknown {
    const draft = this.recorder.draft(value, this as unknown as Node)
    const node = this.recorder.isOpen ? this.recorder.known(value) : undefined
    if (node) this.children.set(key, node)
    return draft
  }
}

export class ObjectNode extends ContainerNode<TreeObject> implements ProxyHandler<object> {
  readonly proxy: object

  constructor(recorder: Recorder, base: TreeObject, parent: Node | undefined) {
    super(recorder, base, parent)
    this.proxy = new Proxy({}, this)
  }

  /** Its value now, as it is kept; DELETED where there is none. */
  current(key: string): unknown {
    const { changed } = this
    if (changed?.has(key)) return changed.get(key)
    return Object.hasOwn(this.base, key) ? this.base[key] : DELETED
  }

  get(target: object, key: string | symbol): unknown {
    const value = typeof key === 'symbol' ? DELETED : this.current(key)
    return value === DELETED ? Reflect.get(target, key) : this.hand(String(key), value)
  }

  has(target: object, key: string | symbol): boolean {
    return (typeof key === 'string' && this.current(key) !== DELETED) || Reflect.has(target, key)
  }

  ownKeys(): string[] {
    const keys = Object.keys(this.base)
    const { changed } = this
    if (!changed) return keys
    const added = [...changed.keys()].filter((key) => !Object.hasOwn(this.base, key))
    return [...keys, ...added].filter((key) => this.current(key) !== DELETED)
  }

  getOwnPropertyDescriptor(_: object, key: string | symbol): PropertyDescriptor | undefined {
    const value = typeof key === 'symbol' ? DELETED : this.current(key)
    return value === DELETED ? undefined : data(this.hand(String(key), value))
  }

  set(_: object, key: string | symbol, value: unknown): boolean {
    // An assignment to it would change the prototype, which JSON does not know.
    if (key === '__proto__' && this.current(key) === DELETED) return false
    return this.defineProperty(_, key, { value })
  }

  defineProperty(_: object, key: string | symbol, descriptor: PropertyDescriptor): boolean {
    if (typeof key === 'symbol' || descriptor.get || descriptor.set) return false
    this.change(key, this.recorder.enter(descriptor.value))
    return true
  }

  deleteProperty(_: object, key: string | symbol): boolean {
    if (typeof key === 'string' && this.current(key) !== DELETED) this.change(key, DELETED)
    return true
  }

  setPrototypeOf(): boolean {
    return false
  }

  preventExtensions(): boolean {
    return false
  }
}

const MUTATORS: ReadonlySet<string | symbol> = new Set([
  'shift',
  'unshift',
  'splice',
  'sort',
  'reverse',
  'copyWithin',
  'fill',
])

type AnyMethod = (...args: unknown[]) => unknown

export class ListNode extends ContainerNode<unknown[]> implements ProxyHandler<object> {
  readonly proxy: object
  /** What was added behind the base. */
  #tail: unknown[] = []
  /** All elements, once more was changed than the values of elements and what follows them. */
  #copy: unknown[] | undefined

  constructor(recorder: Recorder, base: unknown[], parent: Node | undefined) {
    super(recorder, base, parent)
    this.proxy = new Proxy([], this)
  }

  get tail(): readonly unknown[] {
    return this.recorder.isOpen ? this.#tail : []
  }

  get copy(): readonly unknown[] | undefined {
    return this.recorder.isOpen ? this.#copy : undefined
  }

  get #length(): number {
    return this.copy?.length ?? this.base.length + this.tail.length
  }

  #current(index: number): unknown {
    if (this.copy) return this.copy[index]
    const { length } = this.base
    if (index >= length) return this.tail[index - length]
    const { changed } = this
    return changed?.has(String(index)) ? changed.get(String(index)) : this.base[index]
  }

  /** From now on all elements are in a copy. */
  #whole(): unknown[] {
    this.touch()
    this.#copy ??= Array.from({ length: this.#length }, (_, index) => this.#current(index))
    return this.#copy
  }

  get(target: object, key: string | symbol): unknown {
    if (key === 'length') return this.#length
    const index = indexOf(key)
    if (index !== undefined) return this.hand(String(key), this.#current(index))
    const value: unknown = Reflect.get(target, key)
    return MUTATORS.has(key) ? this.#mutator(value as AnyMethod) : value
  }

  /** The method, on the elements themselves: one at a time through the drafts it would be slow. */
  #mutator(method: AnyMethod): AnyMethod {
    return (...args) => {
      const all = this.#whole()
      const draft = (value: unknown) => this.recorder.draft(value, this)
      const result = method.apply(
        all,
        args.map((arg) =>
          typeof arg === 'function'
            ? (a: unknown, b: unknown) => (arg as AnyMethod)(draft(a), draft(b))
            : this.recorder.enter(arg),
        ),
      )
      if (result === all) return this.proxy
      return Array.isArray(result) && method.name === 'splice' ? result.map(draft) : draft(result)
    }
  }

  has(target: object, key: string | symbol): boolean {
    const index = indexOf(key)
    return index === undefined ? Reflect.has(target, key) : index < this.#length
  }

  ownKeys(): string[] {
    return [...Array.from({ length: this.#length }, (_, index) => String(index)), 'length']
  }

  getOwnPropertyDescriptor(_: object, key: string | symbol): PropertyDescriptor | undefined {
    if (key === 'length') {
      return { value: this.#length, writable: true, enumerable: false, configurable: false }
    }
    const index = indexOf(key)
    if (index === undefined || index >= this.#length) return undefined
    return data(this.hand(String(key), this.#current(index)))
  }

  set(_: object, key: string | symbol, value: unknown): boolean {
    return this.defineProperty(_, key, { value })
  }

  defineProperty(_: object, key: string | symbol, descriptor: PropertyDescriptor): boolean {
    const { value } = descriptor
    if (key === 'length') {
      if (value !== this.#length) this.#whole().length = value
      return true
    }
    const index = indexOf(key)
    // Other members of an array are not in its JSON.
    if (index === undefined || descriptor.get || descriptor.set) return false
    const entered = this.recorder.enter(value)
    const { length } = this.base
    if (this.#copy || index > this.#length) this.#whole()[index] = entered
    else if (index < length) this.change(String(index), entered)
    else {
      this.touch()
      this.#tail[index - length] = entered
    }
    return true
  }

  deleteProperty(_: object, key: string | symbol): boolean {
    const index = indexOf(key)
    if (index !== undefined && index < this.#length) this.#whole()[index] = undefined
    return true
  }

  setPrototypeOf(): boolean {
    return false
  }

  preventExtensions(): boolean {
    return false
  }
}

function indexOf(key: string | symbol): number | undefined {
  if (typeof key === 'symbol') return undefined
  const index = Number(key)
  return Number.isInteger(index) && index >= 0 && String(index) === key ? index : undefined
}
