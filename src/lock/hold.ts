import type { LockMode } from '../errors.ts'
import { isHeard, publish } from './events.ts'
import { Room } from './room.ts'
import { type Frame, shared } from './shared-state.ts'
import type { Site } from './site.ts'

/**
 * One granted hold. Code that runs inside it may re-enter; each re-entry is a hold of its own in this one's room, so
 * that siblings (`Promise.all` of two exclusive calls) exclude each other and only a descendant goes in.
 */
export class Hold {
  readonly site: Site
  readonly mode: LockMode
  readonly outer: Hold | undefined
  readonly since: number = performance.now()
  /** Where `acquire()` was called, for a timeout error of the same process; V8 formats its stack when it is read. */
  readonly acquiredAt: Error | undefined
  #room: Room | undefined
  #accepted = 0
  #settled = false
  readonly #onEnded: (() => void)[] = []

  /** @param waitedMs how long it took to get it */
  constructor(site: Site, mode: LockMode, waitedMs: number, outer?: Hold, acquiredAt?: Error) {
    this.site = site
    this.mode = mode
    this.outer = outer
    this.acquiredAt = acquiredAt
    site.entered(this)
    if (isHeard('acquire')) {
      publish('acquire', { path: site.path, mode, waitedMs, nested: outer !== undefined })
    }
  }

  /** Where nested holds queue. */
  get room(): Room {
    this.#room ??= new Room()
    return this.#room
  }

  /** Whether re-entering is still possible: a timer that fires after the callback settled is a newcomer. */
  get isOpen(): boolean {
    return !this.#settled
  }

  /** Counts something that runs, or waits to run, inside: the lock stays until it is done. */
  accept(): () => void {
    this.#accepted++
    return () => {
      this.#accepted--
      if (this.#settled && this.#accepted === 0) this.#finish()
    }
  }

  /** Runs with this hold in the asynchronous context. */
  run<T>(run: () => T): T {
    const frame: Frame = { hold: this, outer: shared.context.getStore() }
    return shared.context.run(frame, run)
  }

  /** Ends the hold; the lock drops as soon as all accepted nested work has ended too. */
  end(): Promise<void> | undefined {
    if (this.#settled) return undefined
    this.#settled = true
    if (this.#accepted === 0) {
      this.#finish()
      return undefined
    }
    return new Promise((resolve) => this.whenEnded(resolve))
  }

  /** Called when the lock has dropped. */
  whenEnded(ended: () => void): void {
    this.#onEnded.push(ended)
  }

  #finish(): void {
    this.site.left(this)
    if (isHeard('release')) {
      const heldMs = performance.now() - this.since
      publish('release', { path: this.site.path, mode: this.mode, heldMs, nested: this.outer !== undefined })
    }
    for (const ended of this.#onEnded) ended()
  }
}
