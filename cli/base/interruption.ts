import { EXIT } from './exit-codes.ts'

const interruption = new AbortController()

/** Aborted by Ctrl-C or SIGTERM, once `abortWhenInterrupted` was called. */
export const interrupted: AbortSignal = interruption.signal

/** For what has processes to end and folders to remove; the other commands have ways of their own. */
export function abortWhenInterrupted(): void {
  for (const [name, code] of [
    ['SIGINT', EXIT.interrupted],
    ['SIGTERM', 143],
  ] as const) {
    process.on(name, () => {
      process.exitCode = code
      interruption.abort()
    })
  }
}
