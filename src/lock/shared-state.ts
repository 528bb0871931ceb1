import type { TreeHold } from '../lock-tree/tree-hold.ts'
import { Context } from './context.ts'
import type { Hold } from './hold.ts'
import type { Site } from './site.ts'

/** One entry of the chain of holds that the current asynchronous context runs in, innermost first. */
export interface Frame {
  readonly hold: Hold | TreeHold
  readonly outer: Frame | undefined
}

interface SharedState {
  /** Every lock file this process has open, by its canonical path. */
  readonly sites: Map<string, Site>
  readonly context: Context<Frame>
  /** Every hold of a LockTree in this thread, whichever tree it is of. */
  readonly treeHolds: Set<TreeHold>
}

/**
 * Two copies of pslock in one process (two versions in node_modules, a bundle beside a package) must share one queue
 * and one context, or the second copy would wait for the first for ever. The number is that of this contract.
 */
const KEY = Symbol.for('pslock/1')

const globals = globalThis as typeof globalThis & { [KEY]?: SharedState }

globals[KEY] ??= {
  sites: new Map(),
  context: new Context<Frame>(),
  treeHolds: new Set(),
}

export const shared: SharedState = globals[KEY]

/** Runs outside every hold: listeners, hooks and callbacks must not inherit one that is not theirs. */
export function outsideHolds<T>(run: () => T): T {
  return shared.context.outside(run)
}
