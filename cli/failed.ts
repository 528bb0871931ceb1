import { EXIT } from './exit-codes.ts'
import { print } from './output.ts'

/** Says what went wrong, and has the process end with the code for that. */
export function failed(error: unknown): void {
  print(`pslock: ${error instanceof Error ? error.message : String(error)}\n`)
  process.exitCode = EXIT.failed
}
