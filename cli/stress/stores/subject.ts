import type { Answer, Operation } from '../operation.ts'

/** Where the data is, and how a worker opens it. */
export interface SubjectOptions {
  readonly path: string
  readonly worker: number
  /** The vanilla library, without any lock. */
  readonly unlocked: boolean
  readonly sliceMs: number | undefined
  readonly durability: 'process' | 'disk'
}

/** A store object of a worker's own, able to do what a plan may ask. */
export interface Subject {
  /** @throws whatever the store rejects with, unless it is an answer that the plan expects */
  perform(operation: Operation): Promise<Answer>
  close(): Promise<void>
}

/** The options that only a locked store knows; an option that was not given is left out. */
export function lockOptions({ sliceMs, durability }: SubjectOptions): {
  durability: 'process' | 'disk'
  sliceMs?: number
} {
  return { durability, ...(sliceMs === undefined ? {} : { sliceMs }) }
}
