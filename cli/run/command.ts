import { type ChildProcess, spawn } from 'node:child_process'
import { errnoOf } from '../../src/errors.ts'
import { EXIT } from '../exit-codes.ts'
import { print } from './print.ts'

/** How the command ended, or why it could not begin: as an exit code, or by a signal. */
export type Ending = { readonly code: number } | { readonly signal: NodeJS.Signals }

/**
 * Starts the command with our own stdin, stdout and stderr and nothing else: Node opens every file O_CLOEXEC, so the
 * lock's descriptor stays here.
 * @param onStarted called when the process is there
 */
export async function runCommand(
  [name = '', ...args]: readonly string[],
  onStarted: (child: ChildProcess) => void,
): Promise<Ending> {
  let child: ChildProcess
  try {
    child = spawn(name, args, { stdio: 'inherit' })
  } catch (error) {
    // An empty name, or an argument list that is too long.
    return notStarted(name, error)
  }
  if (child.pid !== undefined) onStarted(child)
  return new Promise((resolve) => {
    child.once('exit', (code, signal) => resolve(signal === null ? { code: code ?? 0 } : { signal }))
    child.on('error', (error) => {
      if (child.pid === undefined) resolve(notStarted(name, error))
      else print(`pslock: cannot pass a signal on to ${name} (${child.pid}): ${error.message}\n`)
    })
  })
}

/** The codes are those of shells. */
function notStarted(name: string, error: unknown): Ending {
  const code = errnoOf(error)
  if (code === 'ENOENT' || name === '') {
    print(`pslock: ${name || '(an empty name)'}: command not found\n`)
    return { code: EXIT.notFound }
  }
  const why = code === 'EACCES' ? 'permission denied' : error instanceof Error ? error.message : String(error)
  print(`pslock: ${name}: cannot be executed: ${why}\n`)
  return { code: EXIT.notExecutable }
}
