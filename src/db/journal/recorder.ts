import { TransactionError } from '../../errors.ts'
import { isObject, type TreeObject } from '../tree/json-tree.ts'
import { ListNode, ObjectNode } from './nodes.ts'

export type Container = TreeObject | unknown[]
export type Node = ObjectNode | ListNode

/** Which node stands behind a proxy. */
const nodes = new WeakMap<object, Node>()

export function isContainer(value: unknown): value is Container {
  return Array.isArray(value) || isObject(value)
}

/**
 * Records what is changed of a tree, without changing or copying it: drafts (proxies) stand before the containers that are
 * looked at, and only what is written is kept beside them. So an update costs what it touches. (Libraries that copy each
 * changed container need 54 ms for one member of an object of 100,000, and write all elements of a list that is shifted.)
 * Once closed, or from the start where it is only to be read, drafts show the tree itself, and refuse to be written.
 */
export class Recorder {
  readonly #path: string
  readonly #nodes = new WeakMap<Container, Node>()
  /** What the user has put in: it is handed out as it is, since nobody else has it. */
  readonly #fresh = new WeakSet<object>()
  isOpen: boolean
  /** Grows with every change. */
  version = 0

  /** @param path of the data file, for messages */
  constructor(path: string, isOpen: boolean) {
    this.#path = path
    this.isOpen = isOpen
  }

  /** What the user is given for a value of the tree. */
  draft(value: unknown, parent?: Node): unknown {
    return isContainer(value) && !this.#fresh.has(value) ? this.node(value, parent).proxy : value
  }

  /** What is kept of a value that the user has given. */
  enter(value: unknown): unknown {
    if (typeof value !== 'object' || value === null) return value
    const node = nodes.get(value)
    if (node?.recorder === this) return node.base
    this.#fresh.add(value)
    return value
  }

  node(base: Container, parent?: Node): Node {
    const known = this.#nodes.get(base)
    if (known) return known
    const node = Array.isArray(base) ? new ListNode(this, base, parent) : new ObjectNode(this, base, parent)
    this.#nodes.set(base, node)
    nodes.set(node.proxy, node)
    return node
  }

  /** The node of a container of the tree, if somebody has looked at it. */
  known(value: unknown): Node | undefined {
    return isContainer(value) ? this.#nodes.get(value) : undefined
  }

  /** @throws TransactionError where nothing may be changed */
  requireOpen(): void {
    this.version++
    if (this.isOpen) return
    throw new TransactionError(
      `the data of ${this.#path} is kept in a journal, which only update() and transaction() write to: change what ` +
        'their callback is given, before it has ended',
      { path: this.#path },
    )
  }

  close(): void {
    this.isOpen = false
  }
}
