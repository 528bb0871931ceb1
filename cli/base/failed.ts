import { harmless, PsLockError } from '../../src/errors.ts'
import { EXIT } from './exit-codes.ts'
import { print } from './output.ts'

/** Says what went wrong, and has the process end with the code for that. */
export function failed(error: unknown): void {
  print(`pslock: ${words(error)}\n`)
  process.exitCode = EXIT.failed
}

/** In one line; of an error of ours also the stack below it, which is of this process. */
function words(error: unknown): string {
  if (error instanceof PsLockError) return error.message
  return harmless(error instanceof Error ? error.message : String(error))
}
