import { fsyncSync } from 'node:fs'
import { isThenable } from '../arguments.ts'
import { type Pieces, readNow, readRange, sync, writeNew, writePiecesSync } from './io.ts'

/**
 * Work that waits by `yield`. One body serves the calls that block the thread and those that do not: what it waits for
 * is made by the `FileCalls` that it is given, and is a promise only where those do not block.
 */
// biome-ignore lint/suspicious/noExplicitAny: a step gives back what it was given, which TypeScript cannot follow
export type Steps<T> = Generator<unknown, T, any>

/** The calls of a file that take time. */
export interface FileCalls {
  readonly isBlocking: boolean
  readonly read: (fd: number, position: number, length: number) => Buffer | Promise<Buffer>
  /** Writes the whole content of a new file. */
  readonly write: (fd: number, content: Pieces) => void | Promise<void>
  readonly sync: (fd: number) => void | Promise<void>
  readonly pause: (ms: number) => unknown
}

/** Those that do not block the thread. */
export const WAITING: FileCalls = {
  isBlocking: false,
  read: readRange,
  write: writeNew,
  sync,
  pause: (ms) => new Promise((resolve) => setTimeout(resolve, ms)),
}

const sleeper = new Int32Array(new SharedArrayBuffer(4))

/** Blocks the thread for so long. */
export function sleep(ms: number): void {
  Atomics.wait(sleeper, 0, 0, ms)
}

export const BLOCKING: FileCalls = {
  isBlocking: true,
  read: readNow,
  write: writePiecesSync,
  sync: fsyncSync,
  pause: sleep,
}

/** Runs steps that wait for nothing. */
export function runBlocking<T>(steps: Steps<T>): T {
  let next = steps.next()
  while (!next.done) next = steps.next(next.value)
  return next.value
}

/** Runs steps; at once, where they wait for no promise. */
export function runSteps<T>(steps: Steps<T>): T | Promise<T> {
  for (let next = steps.next(); ; next = steps.next(next.value)) {
    if (next.done) return next.value
    const { value } = next
    if (value instanceof Promise || (value !== undefined && isThenable(value))) return goOn(steps, value)
  }
}

async function goOn<T>(steps: Steps<T>, first: unknown): Promise<T> {
  for (let waitedFor = first; ; ) {
    let next: IteratorResult<unknown, T>
    try {
      const value = await waitedFor
      next = steps.next(value)
    } catch (error) {
      next = steps.throw(error)
    }
    if (next.done) return next.value
    waitedFor = next.value
  }
}

/** Resolves when the event loop has turned. */
export function turned(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve))
}

/**
 * Lets the event loop turn, where it must, before something is waited for.
 * @throws the reason of the signal, where it has aborted meanwhile
 */
export async function turn(signal?: AbortSignal): Promise<void> {
  await turned()
  // Signals of other libraries may have no throwIfAborted.
  if (signal?.aborted) throw signal.reason
}

/** @throws the reason of the signal */
export function pause(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const abort = () => {
      clearTimeout(timer)
      reject(signal?.reason)
    }
    const timer = setTimeout(() => {
      signal?.removeEventListener('abort', abort)
      resolve()
    }, ms)
    signal?.addEventListener('abort', abort, { once: true })
  })
}
