import { isThenable } from '../../arguments.ts'
import { outsideHolds } from '../../lock/hold.ts'
import { Scope } from '../../store/scope.ts'
import type { Hook, HookEvent } from './hook.ts'

/** One operation that hooks are told of, with those that are part of it. */
export class Told {
  readonly event: HookEvent
  /** Those that have let it through. */
  readonly hooks: Hook[] = []
  readonly #parts: Told[] = []
  #since = performance.now()
  #durationMs = 0
  #changed = false
  #failure: { readonly error: unknown } | undefined

  constructor(event: HookEvent) {
    this.event = event
  }

  /** Every hook has let it through. */
  begin(): void {
    this.#since = performance.now()
  }

  /** Runs the operation itself. @param state differs afterwards if it has changed something */
  async watch<T>(run: () => T, state: () => unknown): Promise<Awaited<T>> {
    const before = state()
    const value = await run()
    this.#changed = state() !== before
    return value
  }

  watchSync<T>(run: () => T, state: () => unknown): T {
    const before = state()
    const value = run()
    this.#changed = state() !== before
    return value
  }

  end(failure?: { readonly error: unknown }): void {
    this.#durationMs = performance.now() - this.#since
    this.#failure = failure
  }

  /** A part of it has ended. Whether that counts is known only when this one has. */
  add(part: Told): void {
    this.#parts.push(part)
  }

  /** Tells what became of it: first of its parts, in the order in which they ended. @param undone why it does not count */
  report(undone?: { readonly error: unknown }): void {
    const failure = this.#failure ?? undone
    for (const part of this.#parts) part.report(failure)
    const outcome = {
      ...this.event,
      durationMs: this.#durationMs,
      changed: this.#changed && failure === undefined,
      error: failure?.error,
    }
    for (const hook of this.hooks) callAfter(() => hook.after?.(outcome))
  }
}

/** The user's own code: what it throws is its own business, not the operation's. */
function callAfter(run: () => unknown): void {
  const asUncaught = (error: unknown) =>
    queueMicrotask(() => {
      throw error
    })
  try {
    const done = outsideHolds(() => Scope.outside(run))
    if (isThenable(done)) done.then(undefined, asUncaught)
  } catch (error) {
    asUncaught(error)
  }
}
