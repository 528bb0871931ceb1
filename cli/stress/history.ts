import type { Entry } from './ledger.ts'

/** What one worker was told, and how it ended. */
export interface History {
  readonly worker: number
  readonly entries: readonly Entry[]
  /** `failed`: it crashed, hung, or could not start; `reason` says more. */
  readonly ended: 'finished' | 'killed' | 'failed'
  readonly reason?: string | undefined
  /** Kills after which it was started again, and went on. */
  readonly restarts?: number
}

/** Whether the store said that this operation took effect. Any other answer leaves it in doubt, or denies it. */
export function isAcknowledged({ answer }: Entry): boolean {
  return answer?.said === 'done'
}

/** Whether nobody can know if it took effect: cut short by a kill, or rejected with an error. */
export function isInDoubt({ answer }: Entry): boolean {
  return answer === undefined || answer.said === 'error'
}
