import { Context } from './context.ts'
import type { Site } from './site.ts'

/** One entry of the chain of holds that the current asynchronous context runs in, innermost first. */
export interface Frame {
  /** A `Hold`, or a hold of a floor above. */
  readonly hold: object
  readonly outer: Frame | undefined
}

interface SharedState {
  /** Every lock file this process has open, by its canonical path. */
  readonly sites: Map<string, Site>
  readonly context: Context<Frame>
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
}

export const shared: SharedState = globals[KEY]

/** Runs outside every hold: listeners, hooks and callbacks must not inherit one that is not theirs. */
export function outsideHolds<T>(run: () => T): T {
  return shared.context.outside(run)
}
