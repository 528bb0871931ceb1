import { ABSENT } from '../operation.ts'

/** What was done to a register, or to a unique key (which has a value, or is absent), and how it was answered. */
export type RegisterAct =
  | { readonly kind: 'read'; readonly value: number }
  | { readonly kind: 'write'; readonly value: number }
  /** `done`: it was `from`, and is `to` now. An insertion of a unique key is one from `ABSENT`. */
  | { readonly kind: 'compareAndSet'; readonly from: number; readonly to: number; readonly done: boolean }
  /** `done`: there was something to delete. */
  | { readonly kind: 'delete'; readonly done: boolean }

/** What was done to a counter that begins at 0, and the value it had then. */
export interface CounterAct {
  readonly kind: 'increment' | 'read'
  readonly value: number
}

/** One operation on one key. Whatever it did, it did at one moment from `start` to `end`, if it was right. */
export interface KeyOperation<Act> {
  /** Whose; the look into the file after the run has none. */
  readonly worker: number | undefined
  readonly index: number
  readonly act: Act
  /** Nanoseconds of the clock that all processes share. */
  readonly start: number
  /** `Infinity`: no moment is known by which it must have happened. */
  readonly end: number
  /** Was never answered: it may have happened or not, and `act` then says only what was asked for. */
  readonly isPending: boolean
}

/** Any state: what a history is supposed to begin with whose beginning is not looked at. */
export const ANY = -2

/**
 * The register after this operation, or undefined where a register in this state would have answered otherwise.
 * An operation that was never answered is only of interest where it changes something.
 */
export function step(state: number, { act, isPending }: KeyOperation<RegisterAct>): number | undefined {
  switch (act.kind) {
    case 'read':
      return state === act.value || state === ANY ? act.value : undefined
    case 'write':
      return act.value
    case 'compareAndSet':
      if (act.done || isPending) return state === act.from || state === ANY ? act.to : undefined
      return state === act.from ? undefined : state
    case 'delete':
      if (act.done || isPending) return state === ABSENT ? undefined : ABSENT
      return state === ABSENT || state === ANY ? ABSENT : undefined
  }
}

/** Whether it leaves every state as it is, however the answer is. */
export function isObserver({ act, isPending }: KeyOperation<RegisterAct>): boolean {
  return !isPending && (act.kind === 'read' || ('done' in act && !act.done))
}
