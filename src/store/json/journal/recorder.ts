import { TransactionError } from '../../../errors.ts'
import { isObject, type TreeObject } from '../json-tree.ts'
import { ListNode } from './list-node.ts'
import { type ContainerNode, NODE } from './node.ts'
import { ObjectNode } from './object-node.ts'

export type Container = TreeObject | unknown[]

export function isContainer(value: unknown): value is Container {
  return Array.isArray(value) || isObject(value)
}

/**
 * Records what is changed of a tree, without changing or copying it: drafts (proxies) stand before the containers that
 * somebody looks at, and what is written to them is kept beside the tree. So an update costs what it touches. (Libraries
 * copy each container on the path to a change: in a list of 100,000 that is 1.9 ms for an increment, and 0.013 ms here.)
 * The tree must not change while a recorder of it is open.
 */
export class Recorder {
  readonly #path: string
  readonly #nodes = new Map<Container, ContainerNode>()
  /** What the user has put in: it is handed out as it is, since nobody else has it. */
  readonly #given = new Set<unknown>()
  #isOpen = true
  /** Grows with every change. */
  version = 0

  /** @param path of the data file, for messages */
  constructor(path: string) {
    this.#path = path
  }

  /** What the user is given for a value. @param parent in which it was found, under `key` */
  draft(value: unknown, parent?: ContainerNode, key?: string): unknown {
    if (typeof value !== 'object' || value === null || !isContainer(value) || this.#given.has(value))
      return value
    const known = this.#nodes.get(value)
    if (known) return known.draft
    const node = Array.isArray(value)
      ? new ListNode(this, value, parent, key)
      : new ObjectNode(this, value, parent, key)
    this.#nodes.set(value, node)
    return node.draft
  }

  /** What is kept of a value that the user has given: the container of the tree where it is the draft of one. */
  enter(value: unknown): unknown {
    if (typeof value !== 'object' || value === null) return value
    const node = (value as { [NODE]?: ContainerNode })[NODE]
    if (node?.recorder === this) return node.base
    this.#given.add(value)
    return value
  }

  /** The node of a container of the tree, if somebody has looked at it. */
  known(value: unknown): ContainerNode | undefined {
    return this.#nodes.get(value as Container)
  }

  /** Whether it is a container of the tree, and not one that the user has put in. */
  isOfTree(value: unknown): boolean {
    return this.#nodes.has(value as Container)
  }

  /** Called before every change. @throws TransactionError where there can be none any more */
  changing(): void {
    this.version++
    if (this.#isOpen) return
    throw new TransactionError(
      `this is the data of an update of ${this.#path} that has ended: change what the callback of update() or ` +
        'transaction() is given, before that ends',
      { path: this.#path },
    )
  }

  close(): void {
    this.#isOpen = false
  }
}
