import { ContainerNode, member, NODE } from './node.ts'
import type { Recorder } from './recorder.ts'

type AnyMethod = (...args: unknown[]) => unknown

/** These move many elements: on drafts, one element at a time, that would be slow. */
const MOVES: ReadonlySet<string | symbol> = new Set([
  'shift',
  'unshift',
  'splice',
  'sort',
  'reverse',
  'copyWithin',
  'fill',
])

/** In the place of an element that was deleted: as in an array, it is not there, and reads as undefined. JSON has null. */
const HOLE: unique symbol = Symbol('hole')

/**
 * A list of which single elements were replaced, and the end was changed (as by `push`), keeps just that; one that was
 * changed otherwise keeps a copy of its elements.
 */
export class ListNode extends ContainerNode<unknown[]> implements ProxyHandler<unknown[]> {
  readonly draft: unknown[]
  #length: number
  /** So many of the base's elements are still there, but for those in `#changed`. */
  #kept: number
  #changed: Map<number, unknown> | undefined
  #copy: unknown[] | undefined

  constructor(
    recorder: Recorder,
    base: unknown[],
    parent: ContainerNode | undefined,
    key: string | undefined,
  ) {
    super(recorder, base, parent, key)
    this.#length = base.length
    this.#kept = base.length
    this.draft = new Proxy(base, this as ProxyHandler<unknown[]>)
  }

  /** All elements, where they do not stand where they stood. */
  get moved(): readonly unknown[] | undefined {
    return this.#copy
  }

  /** Where they do: so many, */
  get kept(): number {
    return this.#kept
  }

  /** of which these were replaced, */
  get replaced(): [index: number, value: unknown][] {
    return [...(this.#changed?.keys() ?? [])]
      .filter((index) => index < this.#kept)
      .map((index) => [index, this.current(index)])
  }

  /** and these follow them. */
  get added(): unknown[] {
    return Array.from({ length: this.#length - this.#kept }, (_, index) => this.current(this.#kept + index))
  }

  get length(): number {
    return this.#copy?.length ?? this.#length
  }

  /** An element, as it is kept. */
  current(index: number): unknown {
    if (this.#copy) return this.#copy[index]
    const changed = this.#changed?.get(index)
    if (changed !== undefined || this.#changed?.has(index)) return changed === HOLE ? undefined : changed
    return index < this.#kept ? this.base[index] : undefined
  }

  /** Whether there is an element: an array may have holes. */
  #has(index: number): boolean {
    if (this.#copy) return index in this.#copy
    if (this.#changed?.has(index)) return this.#changed.get(index) !== HOLE
    return index < this.#kept && index in this.base
  }

  get(target: object, key: string | symbol): unknown {
    if (key === 'length') return this.length
    const index = indexOf(key)
    if (index !== undefined) return this.recorder.draft(this.current(index), this, key as string)
    if (key === NODE) return this
    // Not that of the target, which may be a draft too.
    return MOVES.has(key) ? this.#move(Reflect.get([], key) as AnyMethod) : Reflect.get(target, key)
  }

  has(target: object, key: string | symbol): boolean {
    const index = indexOf(key)
    return index === undefined ? Reflect.has(target, key) : this.#has(index)
  }

  ownKeys(): string[] {
    const keys: string[] = []
    for (let index = 0; index < this.length; index++) if (this.#has(index)) keys.push(String(index))
    return [...keys, 'length']
  }

  getOwnPropertyDescriptor(_: object, key: string | symbol): PropertyDescriptor | undefined {
    if (key === 'length')
      return { value: this.length, writable: true, enumerable: false, configurable: false }
    const index = indexOf(key)
    if (index === undefined || !this.#has(index)) return undefined
    return member(this.recorder.draft(this.current(index), this, key as string))
  }

  set(target: object, key: string | symbol, value: unknown): boolean {
    return this.defineProperty(target, key, { value })
  }

  defineProperty(_: object, key: string | symbol, descriptor: PropertyDescriptor): boolean {
    if (key === 'length') return this.#setLength(descriptor.value as number)
    const index = indexOf(key)
    // Other members of an array are not in its JSON.
    if (index === undefined || descriptor.get || descriptor.set) return false
    this.touch()
    const value = this.recorder.enter(descriptor.value)
    // One that stands elsewhere is moved, or there would be two of it.
    if (!this.#copy && this.recorder.isOfTree(value)) this.#copyAll()
    if (this.#copy) this.#copy[index] = value
    else {
      this.#changed ??= new Map()
      this.#changed.set(index, value)
      this.#length = Math.max(this.#length, index + 1)
    }
    return true
  }

  deleteProperty(_: object, key: string | symbol): boolean {
    const index = indexOf(key)
    if (index === undefined || !this.#has(index)) return true
    this.touch()
    if (this.#copy) delete this.#copy[index]
    else {
      this.#changed ??= new Map()
      this.#changed.set(index, HOLE)
    }
    return true
  }

  setPrototypeOf(): boolean {
    return false
  }

  preventExtensions(): boolean {
    return false
  }

  #setLength(length: number): boolean {
    if (length === this.length) return true
    // With the errors of an array's own for what is no length.
    if (this.#copy || !(Number.isInteger(length) && length >= 0)) {
      this.#copyAll().length = length
      return true
    }
    this.touch()
    for (const index of this.#changed?.keys() ?? []) if (index >= length) this.#changed?.delete(index)
    this.#kept = Math.min(this.#kept, length)
    this.#length = length
    return true
  }

  #copyAll(): unknown[] {
    this.touch()
    if (this.#copy) return this.#copy
    const copy = this.base.slice(0, this.#kept)
    copy.length = this.#length
    for (const [index, value] of this.#changed ?? []) {
      if (value === HOLE) delete copy[index]
      else copy[index] = value
    }
    this.#copy = copy
    return copy
  }

  /** The method, on the elements themselves. */
  #move(method: AnyMethod): AnyMethod {
    return (...args) => {
      const all = this.#copyAll()
      const hand = (value: unknown) => this.recorder.draft(value, this)
      const given = args.map((arg) =>
        typeof arg === 'function' && method.name === 'sort'
          ? (a: unknown, b: unknown) => (arg as AnyMethod)(hand(a), hand(b))
          : this.recorder.enter(arg),
      )
      const result = Reflect.apply(method, all, given)
      if (result === all) return this.draft
      return method.name === 'splice' ? (result as unknown[]).map(hand) : hand(result)
    }
  }
}

function indexOf(key: string | symbol): number | undefined {
  if (typeof key === 'symbol') return undefined
  const index = Number(key)
  return Number.isInteger(index) && index >= 0 && String(index) === key ? index : undefined
}
