import type { Container, Recorder } from './recorder.ts'

/** Asked for this, a draft gives its node. */
export const NODE: unique symbol = Symbol('node')

/** A container of the tree that somebody looks at, and what was changed of it. */
export abstract class ContainerNode<B extends Container = Container> {
  abstract readonly draft: object
  readonly recorder: Recorder
  readonly base: B
  /** Where it was found. */
  readonly parent: ContainerNode | undefined
  readonly key: string | undefined
  /** Those found in it in which something was changed, at whatever depth. Without any nothing is allocated: a third of the cost. */
  touched: ContainerNode[] | undefined
  #isTouched = false

  constructor(recorder: Recorder, base: B, parent: ContainerNode | undefined, key: string | undefined) {
    this.recorder = recorder
    this.base = base
    this.parent = parent
    this.key = key
  }

  /** Called before every change. Parents learn of it, so that what was changed is found without a search. */
  protected touch(): void {
    this.recorder.changing()
    for (let node = this as ContainerNode; !node.#isTouched; ) {
      node.#isTouched = true
      const { parent } = node
      if (!parent) return
      parent.touched ??= []
      parent.touched.push(node)
      node = parent
    }
  }
}

/** How a member looks to whoever asks the draft. */
export function member(value: unknown): PropertyDescriptor {
  return { value, writable: true, enumerable: true, configurable: true }
}
